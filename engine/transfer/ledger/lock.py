"""One engine at a time on a state directory, or several that share the work.

The operating system holds the lock for as long as the process lives, so that none is ever left over; what
the file says is only there to be told to whoever comes second.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import orjson

from engine.errors import ConfigError
from engine.transfer.ledger.holder import Holder

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: BinaryIO, *, shared: bool) -> None:
        if shared:
            raise ConfigError(
                "work cannot be shared in one state directory on Windows",
                remedy="give each engine a --state-dir of its own and both the same --ledger postgresql://…",
            )
        file.seek(_BEYOND)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _try_lock(file: BinaryIO, *, shared: bool) -> None:
        fcntl.flock(file.fileno(), (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


_BEYOND = 1 << 30
"""Windows locks bytes, which nobody else may read then; this one is never written."""


@contextmanager
def locked(path: Path, holder: Holder) -> Generator[None]:
    """Hold the lock while the block runs, together with others if all of them share.

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
            _try_lock(file, shared=holder.shares)
        except OSError as error:
            raise in_use(f"the state directory {path.parent}", _holder(path), "--state-dir") from error
        file.truncate(0)
        file.write(orjson.dumps(asdict(holder)))
        file.flush()
        # The file stays: to remove it would let a third engine lock a new one while a second waits here.
        yield


def in_use(what: str, holder: Holder | None, option: str) -> ConfigError:
    """That somebody else has it, and what to do then."""
    join = "add --share" if holder is not None and holder.shares else "start both with --share"
    return ConfigError(
        f"{what} is in use by {holder or 'another process'}",
        remedy=f"wait until it ends, choose another one with {option}, or {join} to work together",
    )


def _holder(path: Path) -> Holder | None:
    try:
        return Holder(**orjson.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):  # it is being written at this moment
        return None
