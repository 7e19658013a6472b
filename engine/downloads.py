"""Downloads that go on where they broke, whoever hands out the bytes; large ones by several connections."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeAlias

import aiohttp
import anyio

from engine.errors import AuthError, CommError, EngineError, IntegrityError, NotFound, Transient
from engine.http import HttpClient
from engine.ranges import Meter, side_by_side
from engine.transfer.throttling.retry import DEFAULT_POLICY
from engine.transfer.throttling.throttle import Endpoint

PIECE = 1024 * 1024
"""Bytes in a piece at most."""

LARGE = 64 * 1024 * 1024
"""From so many bytes on, ranges are fetched side by side."""

PROBE = 4 * 1024 * 1024
"""Bytes of a large object that are asked for first: they tell whether ranges are honoured, and would pay."""

Located: TypeAlias = tuple[str, Mapping[str, str]]
Locate: TypeAlias = Callable[[], Awaitable[Located]]
"""Gives URL and headers of an object; asked again after every failure, because signatures expire."""

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class _Address:
    """Where an object is; all its requests share it until one fails."""

    def __init__(self, locate: Locate) -> None:
        self._locate = locate
        self._known: Located | None = None
        self._asking = anyio.Lock()

    async def get(self) -> tuple[Located, bool]:
        """The address, and whether nobody had it before."""
        async with self._asking:
            if self._known is not None:
                return self._known, False
            self._known = await self._locate()
            return self._known, True

    def drop(self, used: Located | None) -> None:
        if self._known is used:
            self._known = None


@dataclass(slots=True)
class _Object:
    """What all requests for one object have in common.

    Attributes:
        version: the ``ETag`` of the object, else its ``Last-Modified``; empty if not known.
        divisible: the server honours ranges, and an object that changes would be noticed.
    """

    http: HttpClient
    address: _Address
    endpoint: Endpoint
    size: int | None
    subject: str
    anonymous: bool
    signings: int
    version: str = ""
    divisible: bool = field(default=False, init=False)

    def fetch(self, start: int, stop: int) -> AsyncGenerator[bytes]:
        return _Part(self, start, stop).pieces()

    def check(self, answer: aiohttp.ClientResponse, position: int) -> None:
        """Raise if an answer is not about the object that was begun, or about other bytes of it."""
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        if self.version and version != self.version:
            raise self.changed()
        self.version = version
        if answer.status != 206:
            return
        told = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if told is not None and int(told[1]) != position:
            raise IntegrityError(
                f"asked for bytes from {position} on, got {told[0]}",
                side=self.http.side,
                subject=self.subject,
            )
        if version and told is not None and int(told[2]) == self.size:
            self.divisible = True

    def changed(self) -> IntegrityError:
        return IntegrityError("the file changed while it was read", side=self.http.side, subject=self.subject)


class _Part:
    """Some bytes of an object, and how far they were read.

    Args:
        stop: the byte before which it ends; None for all there is.
    """

    def __init__(self, whole: _Object, start: int, stop: int | None) -> None:
        self._object = whole
        self._start = self.position = start
        self._stop = stop
        self._used: Located | None = None
        self._fresh = False

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The bytes, in as many requests as it takes.

        Raises:
            IntegrityError: the object changed meanwhile.
            Transient: it broke too often without getting any further.
        """
        whole = self._object
        failures = refused = 0
        while True:
            try:
                async with aclosing(self._attempt()) as pieces:
                    async for piece in pieces:
                        failures = refused = 0
                        yield piece
                if (self._stop is None and whole.size is None) or self._is_complete():
                    return
                raise Transient(
                    f"the download ended at byte {self.position} of {whole.size}",
                    side=whole.http.side,
                    subject=whole.subject,
                )
            except Transient as error:
                if self._is_complete() and self.position > self._start:
                    return
                whole.address.drop(self._used)
                failures += error.counts
                if failures >= DEFAULT_POLICY.attempts:
                    raise
                backoff = min(DEFAULT_POLICY.cap_s, DEFAULT_POLICY.base_s * 2**failures)
                await anyio.sleep(max(error.retry_after_s or 0.0, random.uniform(0, backoff)))
            except (AuthError, NotFound, CommError) as error:
                whole.address.drop(self._used)
                if error.status == 416:
                    raise whole.changed() from error
                # An address that others used before may just have grown old.
                refused += self._fresh
                if refused >= whole.signings or not _refused_by_store(error):
                    raise

    def to_the_end(self) -> AsyncGenerator[bytes]:
        """What follows until the end of the object."""
        self._stop = None
        return self.pieces()

    def _is_complete(self) -> bool:
        end = self._object.size if self._stop is None else self._stop
        return end is not None and self.position >= end

    async def _attempt(self) -> AsyncGenerator[bytes]:
        """The bytes from ``position`` on, in one request."""
        whole = self._object
        self._used, self._fresh = None, True
        self._used, self._fresh = await whole.address.get()
        url, headers = self._used
        wanted = {**headers, "Accept-Encoding": "identity"}
        if self._stop is not None:
            wanted["Range"] = f"bytes={self.position}-{self._stop - 1}"
        elif self.position:
            wanted["Range"] = f"bytes={self.position}-"
        async with whole.http.stream(
            url,
            endpoint=whole.endpoint,
            subject=whole.subject,
            headers=wanted,
            anonymous=whole.anonymous,
        ) as answer:
            whole.check(answer, self.position)
            if answer.status != 206 and not whole.divisible:
                # It comes whole, and asking for the rest of it again would be a waste.
                self._stop = None
            skip = 0 if answer.status == 206 else self.position
            async for chunk in answer.content.iter_chunked(PIECE):
                piece = chunk[skip:]
                skip -= min(skip, len(chunk))
                if self._stop is not None:
                    piece = piece[: self._stop - self.position]
                if piece:
                    self.position += len(piece)
                    yield piece
                if self.position == self._stop and answer.status != 206:
                    return


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
    ranges: bool = True,
) -> AsyncGenerator[bytes]:
    """The bytes of an object from ``offset`` on, in pieces of 1 MiB at most.

    After a break it goes on by ``Range`` where the server honours that, else by skipping what it has.
    Servers that do not may send no length either: ``size`` tells what ended too early. Large objects come by
    several connections at once (``engine.ranges``) where the server honours ranges and tells a version.

    Args:
        size: bytes of the whole object, None if that is not known.
        anonymous: send no credentials but those that ``locate`` gives.
        signings: URLs that may be refused until it is no longer a matter of asking for another one.
        ranges: whether a range costs the server no more than its bytes.

    Raises:
        IntegrityError: the length is not ``size``, or the object changed between two requests.
        Transient: it broke too often without getting any further.
    """
    if size is not None and offset >= max(size, 1):
        return
    whole = _Object(http, _Address(locate), endpoint, size, subject, anonymous, signings)
    probe = None
    if ranges and size is not None and size - offset >= LARGE:
        probe = min(offset + PROBE, size)
    first = _Part(whole, offset, probe)
    meter = Meter()
    async with aclosing(meter.watch(first.pieces())) as pieces:
        async for piece in pieces:
            yield piece
    if size is not None and first.position < size:
        if whole.divisible and not meter.is_fast():
            rest = side_by_side(whole.fetch, first.position, size, room=http.read_ahead, meter=meter)
        else:
            rest = first.to_the_end()
        async with aclosing(rest) as pieces:
            async for piece in pieces:
                yield piece
    if size is not None and first.position > size:
        raise IntegrityError(
            f"the file has {first.position} bytes and was listed with {size}",
            side=http.side,
            subject=subject,
        )


def _refused_by_store(error: EngineError) -> bool:
    """Whether another signature may help: expired ones are answered with 400, 401, 403 or 404."""
    return error.status in (400, 401, 403, 404, 410)
