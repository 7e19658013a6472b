"""One engine at a time on a state directory.

The operating system holds the lock for as long as the process lives, so that none is ever left over; what
the file says is only there to be told to whoever comes second.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import orjson

from engine.errors import ConfigError

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: BinaryIO) -> None:
        file.seek(_BEYOND)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _try_lock(file: BinaryIO) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


_BEYOND = 1 << 30
"""Windows locks bytes, which nobody else may read then; this one is never written."""


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the lock while the block runs.

    Raises:
        ConfigError: somebody else holds it, or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise ConfigError(
            f"the state directory {path.parent} cannot be written: {error.strerror}",
            remedy="choose another one with --state-dir",
            exc=error,
        ) from error
    with file:
        try:
            _try_lock(file)
        except OSError as error:
            raise ConfigError(
                f"the state directory {path.parent} is in use by {_holder(path)}",
                remedy="wait until it ends, or choose another one with --state-dir",
                exc=error,
            ) from error
        file.truncate(0)
        file.write(orjson.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}))
        file.flush()
        # The file stays: to remove it would let a third engine lock a new one while a second waits here.
        yield


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _holder(path: Path) -> str:
    try:
        told = orjson.loads(path.read_bytes())
        return f"process {told['pid']} on {told['host']} since {told['since']}"
    except (OSError, ValueError, KeyError):  # it is being written at this moment
        return "another process"
