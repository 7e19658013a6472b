"""Bytes that are to be sent, wherever they are: in memory, on this disk, at their source."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from io import FileIO
from typing import Protocol, TypeVar

import anyio.to_thread

from engine.errors import EngineError, IntegrityError, Side
from engine.protocols import Reader
from engine.records import Blob
from engine.wandb.digests import MIB, md5_b64

T = TypeVar("T")
R = TypeVar("R")

PIECE = 256 * 1024

SMALL = MIB
"""Objects up to this size are sent from memory: a stream costs more than they do."""

SLOW_READ_S = 0.002
"""A piece, or a small file, that takes longer did not come from the page cache."""


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


async def each_read(read: Callable[[T], R], files: Sequence[T]) -> list[R]:
    """What ``read`` makes of each small file.

    As long as the page cache has them, a file is read sooner than a thread begins, which would then fight
    with this one for the interpreter; a slow disk must not hold up everything else.
    """
    found: list[R] = []
    for file in files:
        began = time.monotonic()
        found.append(read(file))
        if time.monotonic() - began > SLOW_READ_S:
            break
    rest = files[len(found) :]
    if rest:
        found += await anyio.to_thread.run_sync(lambda: [read(file) for file in rest])
    return found


def read_file(file: tuple[str, int]) -> bytes:
    """All bytes of a file, by its path and size.

    Raises:
        EngineError: it cannot be read.
        IntegrityError: it is shorter than it was.
    """
    path, size = file
    try:
        with open(path, "rb", buffering=0) as opened:  # noqa: PTH123 - a Path costs as much as the read
            content = opened.read(size)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(content) != size:
        raise _shorter(path)
    return content
