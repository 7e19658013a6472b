"""Bytes on their way to an object store, through the URLs that W&B hands out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from engine.errors import EngineError, IntegrityError, Side
from engine.http import HttpClient, Response
from engine.protocols import Reader
from engine.records import Blob
from engine.transfer.retry import retrying
from engine.transfer.throttle import Endpoint

PIECE = 256 * 1024


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
    path: Path

    async def open(self, offset: int, length: int) -> AsyncGenerator[bytes]:
        # Read in the event loop: a piece comes from the page cache, and a thread would cost more than it.
        with self.path.open("rb", buffering=0) as file:
            file.seek(offset)
            while length:
                piece = file.read(min(PIECE, length))
                if not piece:
                    raise IntegrityError("the file became shorter while it was sent", subject=str(self.path))
                length -= len(piece)
                yield piece


@dataclass(frozen=True, slots=True)
class AtSource:
    """Bytes whose digest the source knows, so that they can go straight through."""

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


def parsed_headers(headers: Iterable[str]) -> dict[str, str]:
    """The ``Name:value`` strings that W&B gives with an upload URL."""
    pairs = (header.partition(":") for header in headers)
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


async def put(
    http: HttpClient,
    url: str,
    headers: Sequence[str],
    payload: Payload,
    *,
    size: int,
    subject: str,
    offset: int = 0,
) -> Response:
    """PUT ``size`` bytes of a payload without credentials; the URL carries its own.

    Raises:
        EngineError: of the class that fits the answer, or what reading the payload raised.
    """
    broken: list[EngineError] = []

    async def watched() -> AsyncIterator[bytes]:
        try:
            async with aclosing(payload.open(offset, size)) as pieces:
                async for piece in pieces:
                    yield piece
        except EngineError as error:
            broken.append(error)
            raise

    async def attempt() -> Response:
        broken.clear()
        try:
            return await http.request(
                "PUT",
                url,
                endpoint=Endpoint.OBJECTS,
                subject=subject,
                headers={**parsed_headers(headers), "Content-Length": str(size)},
                body=payload.data[offset : offset + size] if isinstance(payload, InMemory) else watched,
                anonymous=True,
                retry=False,
            )
        except EngineError as error:
            # The HTTP library dresses what a body raises as a broken connection, which hides whose fault
            # it was and whether another attempt may help.
            if broken:
                raise broken[0] from error
            raise

    return await retrying(attempt)
