"""Bytes on their way to an object store, through the URLs that W&B hands out."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from functools import partial
from io import FileIO
from typing import Protocol

import anyio.to_thread

from engine.answers import Response
from engine.errors import EngineError, IntegrityError, Side
from engine.protocols import Reader
from engine.records import Blob
from engine.transfer.throttling.bandwidth import Bandwidth
from engine.transfer.throttling.retry import retrying
from engine.transfer.throttling.throttle import Endpoint
from engine.wandb.client import WandbClient
from engine.wandb.digests import MIB, b64, md5_b64
from engine.wandb.lanes import Lane, Lanes

PIECE = 256 * 1024

SMALL = MIB
"""Objects up to this size are sent from memory: a stream costs more than they do."""

STREAMED = 2 * MIB
"""Memory that one streamed upload needs at most: a piece of the source's, and the buffers of two sockets."""

RESENDS = 3

SLOW_READ_S = 0.002
"""A piece that takes longer did not come from the page cache."""


class Payload(Protocol):
    """Bytes that can be read as often as an upload needs them."""

    def open(self, offset: int, length: int) -> AsyncGenerator[bytes]:
        """Exactly ``length`` bytes from ``offset`` on, in pieces.

        Raises:
            IntegrityError: there are fewer.
        """
        ...


@dataclass(frozen=True, slots=True)
class InMemory:
    data: bytes = field(repr=False)

    async def open(self, offset: int, length: int) -> AsyncGenerator[bytes]:
        yield self.data[offset : offset + length]


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A file; its path is text because there may be very many."""

    path: str

    async def open(self, offset: int, length: int) -> AsyncGenerator[bytes]:
        slow = False
        try:
            with open(self.path, "rb", buffering=0) as file:  # noqa: PTH123, ASYNC230 - see below
                file.seek(offset)
                while length:
                    # From the page cache, where hashing has brought it, a piece comes sooner than a thread
                    # would; a slow disk must not hold up everything else.
                    read = partial(_timed_read, file, min(PIECE, length))
                    piece, slow = await anyio.to_thread.run_sync(read) if slow else read()
                    if not piece:
                        raise _shorter(self.path)
                    length -= len(piece)
                    yield piece
        except OSError as error:
            raise unreadable(self.path, error) from error


@dataclass(frozen=True, slots=True)
class AtSource:
    """Bytes whose size the source knows, so that they can go straight through."""

    blob: Blob
    read: Reader

    async def open(self, offset: int, length: int) -> AsyncGenerator[bytes]:
        async with aclosing(self.read(self.blob, offset)) as pieces:
            async for piece in pieces:
                wanted = piece[:length]
                length -= len(wanted)
                if wanted:
                    yield wanted
                if not length:
                    return
        if length:
            raise IntegrityError(
                "the source sent fewer bytes than it announced", side=Side.SOURCE, subject=self.blob.path
            )

    async def whole(self, size: int) -> bytes:
        """All bytes, for a small object.

        Raises:
            IntegrityError: they are fewer, or not what the source's digest says.
        """
        content = b"".join([piece async for piece in self.open(0, size)])
        if self.blob.md5 is not None and md5_b64(content) != self.blob.md5:
            raise wrong_digest(self.blob.path)
        return content


def _timed_read(file: FileIO, size: int) -> tuple[bytes, bool]:
    """Some bytes, and whether they were slow to come."""
    began = time.monotonic()
    piece = file.read(size)
    return piece, time.monotonic() - began > SLOW_READ_S


def unreadable(path: str, error: OSError) -> EngineError:
    return EngineError(
        f"the file cannot be read: {error.strerror}", side=Side.SOURCE, subject=path, exc=error
    )


def wrong_digest(path: str) -> IntegrityError:
    return IntegrityError(
        "the bytes do not have the digest that the source announced", side=Side.SOURCE, subject=path
    )


def _shorter(path: str) -> IntegrityError:
    return IntegrityError(
        "the file became shorter while it was sent",
        side=Side.SOURCE,
        subject=path,
        remedy="did it change while it was read? run the transfer again",
    )


async def read_all(files: Sequence[tuple[str, int]]) -> list[bytes]:
    """Small files whole, from pairs of path and size.

    Raises:
        EngineError: one cannot be read.
        IntegrityError: one is shorter than it was.
    """
    contents: list[bytes] = []
    for path, size in files:
        began = time.monotonic()
        contents.append(_read_file(path, size))
        # As long as the page cache has them, a file is read sooner than a thread begins, which would then
        # fight with this one for the interpreter; a slow disk must not hold up everything else.
        if time.monotonic() - began > SLOW_READ_S:
            return contents + await anyio.to_thread.run_sync(_read_files, files[len(contents) :])
    return contents


def _read_files(files: Sequence[tuple[str, int]]) -> list[bytes]:
    return [_read_file(path, size) for path, size in files]


def _read_file(path: str, size: int) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path costs as much as the read
            content = file.read(size)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(content) != size:
        raise _shorter(path)
    return content


def parsed_headers(headers: Iterable[str]) -> dict[str, str]:
    """The ``Name:value`` strings that W&B gives with an upload URL."""
    pairs = (header.partition(":") for header in headers)
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


_MD5_ETAG = re.compile(r'"([0-9a-fA-F]{32})"')


def md5_of_etag(headers: Mapping[str, str]) -> str | None:
    """The base64 MD5 that an object store tells of what it received, None if its ETag is something else.

    Encryption with a managed or a customer's key gives an ETag of the same shape that is no MD5
    (``docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html``, ETag).
    """
    found = _MD5_ETAG.fullmatch(headers.get("ETag", ""))
    if found is None or headers.get("x-amz-server-side-encryption", "AES256") != "AES256":
        return None
    if "x-amz-server-side-encryption-customer-algorithm" in headers:
        return None
    return b64(bytes.fromhex(found[1]))


@dataclass(slots=True)
class Uploader:
    """Puts objects for one destination.

    Attributes:
        lanes: slots and memory. ``put`` takes none of them: its callers know how many objects share a slot.
    """

    client: WandbClient
    lanes: Lanes
    bandwidth: Bandwidth
    _tells_md5: dict[str, bool] = field(default_factory=dict)
    """Whether the ETags of a store are MD5s, where that is known."""

    def streaming(self) -> AbstractAsyncContextManager[None]:
        """A slot, and the memory, for one ``put`` of a large object or of a part of one."""
        return self.lanes.hold(Lane.LARGE, STREAMED)

    async def put(
        self,
        url: str,
        headers: Sequence[str],
        payload: Payload,
        *,
        size: int,
        subject: str,
        offset: int = 0,
        md5: str | None = None,
    ) -> Response:
        """PUT ``size`` bytes of a payload without credentials; the URL carries its own.

        Bytes that came wrong from the source are read once more, and bytes that arrived wrong at the store
        are sent up to ``RESENDS`` more times, like those that a store refuses because of their digest.

        Args:
            md5: base64 MD5 of these bytes, to compare with the store's.

        Raises:
            IntegrityError: the bytes stay wrong.
            EngineError: of the class that fits the answer, or what reading the payload raised.
        """
        url = self.client.absolute(url)
        sent = parsed_headers(headers)
        sent["Content-Length"] = str(size)

        async def once(*, again: bool) -> Response:
            data: bytes | None = None
            # The source's digest is one of all bytes, not of a part.
            if isinstance(payload, AtSource) and size <= SMALL and size == payload.blob.size:
                data = await payload.whole(size)
            answer = await self._put(
                url, sent, payload if data is None else InMemory(data), size, offset, subject
            )
            self._check(url, sent, answer, md5, subject, again=again)
            return answer

        failed: Counter[Side] = Counter()
        while True:
            try:
                return await once(again=failed.total() > 0)
            except IntegrityError as error:
                failed[error.side] += 1
                if failed[error.side] > (RESENDS if error.side is self.client.side else 1):
                    raise

    async def _put(
        self, url: str, headers: Mapping[str, str], payload: Payload, size: int, offset: int, subject: str
    ) -> Response:
        broken: list[EngineError] = []

        async def watched() -> AsyncIterator[bytes]:
            try:
                async with aclosing(payload.open(offset, size)) as pieces:
                    async for piece in pieces:
                        await self.bandwidth.take(len(piece))
                        yield piece
            except EngineError as error:
                broken.append(error)
                raise

        async def attempt() -> Response:
            broken.clear()
            if isinstance(payload, InMemory):
                await self.bandwidth.take(size)
            try:
                return await self.client.http.request(
                    "PUT",
                    url,
                    endpoint=Endpoint.OBJECTS,
                    subject=subject,
                    headers=headers,
                    body=payload.data[offset : offset + size] if isinstance(payload, InMemory) else watched,
                    anonymous=True,
                    retry=False,
                )
            except EngineError as error:
                # The HTTP library dresses what a body raises as a broken connection, which hides whose
                # fault it was and whether another attempt may help.
                if broken:
                    raise broken[0] from error
                raise

        return await retrying(attempt)

    def _check(
        self,
        url: str,
        sent: Mapping[str, str],
        answer: Response,
        md5: str | None,
        subject: str,
        *,
        again: bool,
    ) -> None:
        told = md5_of_etag(answer.headers) if md5 is not None else None
        store = url[: url.find("/", len("https://"))]
        if told is None or self._tells_md5.get(store) is False:
            return
        if told == md5:
            self._tells_md5[store] = True
        elif again and store not in self._tells_md5 and "Content-MD5" in sent:
            # It has compared the digest itself, twice; its ETags only look like one.
            self._tells_md5[store] = False
        else:
            raise IntegrityError(
                "the object store received other bytes than were sent",
                side=self.client.side,
                subject=subject,
                remedy="run the transfer again; if it stays so, something on the way alters bytes",
            )
