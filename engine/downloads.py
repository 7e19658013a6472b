"""Downloads that go on where they broke, whoever hands out the bytes."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TypeAlias

import anyio

from engine.errors import AuthError, CommError, EngineError, IntegrityError, NotFound, Transient
from engine.http import HttpClient
from engine.transfer.retry import DEFAULT_POLICY
from engine.transfer.throttle import Endpoint

PIECE = 1024 * 1024
"""Bytes in a piece at most."""

Locate: TypeAlias = Callable[[], Awaitable[tuple[str, Mapping[str, str]]]]
"""Gives URL and headers of an object; asked before every attempt, because signatures expire."""


class _Object:
    """An object that is being read, and how far."""

    def __init__(
        self,
        http: HttpClient,
        locate: Locate,
        endpoint: Endpoint,
        *,
        offset: int,
        subject: str,
        anonymous: bool,
    ) -> None:
        self._http = http
        self._locate = locate
        self._endpoint = endpoint
        self._subject = subject
        self._anonymous = anonymous
        self._tag = ""
        self.position = offset

    async def attempt(self) -> AsyncGenerator[bytes]:
        """The bytes from ``position`` on, in one request."""
        url, headers = await self._locate()
        wanted = {**headers, "Accept-Encoding": "identity"}
        if self.position:
            wanted["Range"] = f"bytes={self.position}-"
        async with self._http.stream(
            url, endpoint=self._endpoint, subject=self._subject, headers=wanted, anonymous=self._anonymous
        ) as answer:
            tag = answer.headers.get("ETag", "")
            if self._tag and tag != self._tag:
                raise IntegrityError(
                    "the file changed while it was read", side=self._http.side, subject=self._subject
                )
            self._tag = tag
            skip = 0 if answer.status == 206 else self.position
            async for chunk in answer.content.iter_chunked(PIECE):
                piece = chunk[skip:]
                skip -= len(chunk) - len(piece)
                if piece:
                    self.position += len(piece)
                    yield piece


async def download(
    http: HttpClient,
    locate: Locate,
    endpoint: Endpoint,
    *,
    size: int | None,
    offset: int = 0,
    subject: str,
    anonymous: bool = False,
    signings: int = 1,
) -> AsyncGenerator[bytes]:
    """The bytes of an object from ``offset`` on.

    After a break it goes on by ``Range`` where the server honours that, else by skipping what it has.
    Servers that do not may send no length either: ``size`` tells what ended too early.

    Args:
        size: bytes of the whole object, None if that is not known.
        anonymous: send no credentials but those that ``locate`` gives.
        signings: URLs that may be refused until it is no longer a matter of asking for another one.

    Raises:
        IntegrityError: the length is not ``size``, or the object changed between two attempts.
        Transient: it broke too often without getting any further.
    """
    reading = _Object(http, locate, endpoint, offset=offset, subject=subject, anonymous=anonymous)
    failures = refused = 0
    while size is None or reading.position < size or reading.position == offset == 0:
        try:
            async with aclosing(reading.attempt()) as pieces:
                async for piece in pieces:
                    failures = refused = 0
                    yield piece
            if size is None or reading.position >= size:
                break
            raise Transient(
                f"the download ended at byte {reading.position} of {size}", side=http.side, subject=subject
            )
        except Transient as error:
            failures += error.counts
            if failures >= DEFAULT_POLICY.attempts:
                raise
            backoff = min(DEFAULT_POLICY.cap_s, DEFAULT_POLICY.base_s * 2**failures)
            await anyio.sleep(max(error.retry_after_s or 0.0, random.uniform(0, backoff)))
        except (AuthError, NotFound, CommError) as error:
            refused += 1
            if refused >= signings or not _refused_by_store(error):
                raise
    if size is not None and reading.position > max(size, offset):
        raise IntegrityError(
            f"the file has {reading.position} bytes and was listed with {size}",
            side=http.side,
            subject=subject,
        )


def _refused_by_store(error: EngineError) -> bool:
    """Whether another signature may help: expired ones are answered with 400, 401, 403 or 404."""
    return error.status in (400, 401, 403, 404, 410)
