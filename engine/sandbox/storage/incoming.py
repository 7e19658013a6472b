"""A body on its way into the object store."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import IO, Self


class Incoming:
    """A body being received: written to a temporary file and hashed on the way.

    Discarding it is safe at any time, also while an abandoned thread is still writing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._done = False

    def write(self, piece: bytes) -> None:
        """Append a piece; without effect once the body was discarded."""
        with self._lock:
            if self._done:
                return
            if self._file is None:
                self._file = self.path.open("wb")
            self._file.write(piece)
            self._md5.update(piece)
            self.size += len(piece)

    def finish(self) -> None:
        """All bytes are here; flush them to the file, which exists from now on even if it is empty."""
        self.write(b"")
        with self._lock:
            self._close()

    def discard(self) -> None:
        """Close and remove the file, unless it was kept; for the end of every reception."""
        with self._lock:
            self._close()
            self.path.unlink(missing_ok=True)

    @property
    def md5(self) -> str:
        """Hex MD5 of what was written so far."""
        return self._md5.hexdigest()

    def _close(self) -> None:
        self._done = True
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.discard()
