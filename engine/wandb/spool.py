"""Temporary data on the local disk, which may be full for a while."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from engine.errors import EngineError, Outage
from engine.transfer.context import Context

T = TypeVar("T")

POLL_S = 2.0
"""A full disk is tried again after so long."""

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
