"""Temporary data on the local disk, which may be full for a while.

Two ways with a full disk: what there is no other copy of waits for room (``when_there_is_room``), and what
can be read again from its source is not kept at all (``SpoolFile``). So files that are spooled at the same
time never wait for each other's room.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from engine.errors import EngineError, Outage
from engine.transfer.context import Context
from engine.wandb.digests import MIB, FileDigest, Hasher

T = TypeVar("T")

POLL_S = 2.0
"""A full disk is tried again after so long."""

RESERVE, RESERVE_SHARE = 256 * MIB, 0.02
"""Bytes of a disk that stay free, or this share of a small one: the ledger may be on it."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_MAKE_ROOM = "make room there, or choose another directory for temporary data"


class NoRoom(EngineError):
    """The disk is full; what was to be written is still there and can be written again."""


@contextmanager
def spooling(directory: Path) -> Generator[None]:
    """Writes to the spool; what the disk refuses is told as such.

    Raises:
        NoRoom: the disk is full.
        EngineError: it is not writable.
    """
    try:
        yield
    except OSError as error:
        kind = NoRoom if error.errno in _FULL else EngineError
        raise kind(
            f"temporary data cannot be written: {error.strerror}",
            subject=str(directory),
            remedy=_MAKE_ROOM,
            exc=error,
        ) from error


async def when_there_is_room(context: Context, write: Callable[..., T], *arguments: object) -> T:
    """Call ``write`` in a thread, again and again while the disk is full; the wait is shown to the user.

    Args:
        write: may be called again after ``NoRoom``.

    Raises:
        Outage: the disk stayed full for as long as an outage of a server is waited out.
    """
    full_since: float | None = None
    notice = f"the disk of {context.spool} is full; waiting for room"
    try:
        while True:
            try:
                return await anyio.to_thread.run_sync(partial(write, *arguments))
            except NoRoom as error:
                now = time.monotonic()
                full_since = now if full_since is None else full_since
                if now - full_since >= context.patience_s:
                    raise Outage(
                        f"the disk has been full for {now - full_since:.0f} s",
                        subject=str(context.spool),
                        remedy=_MAKE_ROOM,
                        exc=error,
                    ) from error
            context.notices.add(notice)
            await anyio.sleep(POLL_S)
    finally:
        if full_since is not None:
            context.notices.discard(notice)


class SpoolFile:
    """Bytes on their way to a digest, and to the disk as long as there is room; blocks.

    Args:
        size: bytes that will come, 0 if that is not known.
        part_size: see ``Hasher``.

    Attributes:
        is_kept: whether the disk has all that came so far. If not, they have to be read again.
    """

    def __init__(self, path: Path, size: int, part_size: int) -> None:
        self.path = path
        self.is_kept = True
        self._size = size
        self._hasher = Hasher(part_size)
        self._file: FileIO | None = None

    def append(self, piece: bytes) -> None:
        """
        Raises:
            EngineError: the disk is not writable.
        """
        if self.is_kept:
            try:
                with spooling(self.path.parent):
                    self._write(piece)
            except NoRoom:
                self.discard()
        self._hasher.update(piece)

    def _write(self, piece: bytes) -> None:
        if self._file is None:
            self.path.parent.mkdir(exist_ok=True)
            self._file = self.path.open("wb", buffering=0)
            _check_room(self.path.parent, self._size)
        _check_room(self.path.parent, len(piece))
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]

    def discard(self) -> None:
        """Keep nothing of it on the disk."""
        self.is_kept = False
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def digest(self) -> FileDigest:
        return self._hasher.digest()


def _check_room(directory: Path, size: int) -> None:
    disk = shutil.disk_usage(directory)
    if disk.free - size < min(RESERVE, RESERVE_SHARE * disk.total):
        raise OSError(errno.ENOSPC, "too little room is left")
