"""Temporary data on the local disk."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import EngineError


@contextmanager
def spooling(directory: Path) -> Generator[None]:
    """Writes to the spool; what the disk refuses is told as such.

    Raises:
        EngineError: the disk is full or not writable.
    """
    try:
        yield
    except OSError as error:
        raise EngineError(
            f"temporary data cannot be written: {error.strerror}",
            subject=str(directory),
            remedy="make room there, or choose another directory for temporary data",
            exc=error,
        ) from error
