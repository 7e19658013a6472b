"""Bytes by their SHA-256: the same bytes are there once, whoever has them and whatever they are called.

SHA-256 rather than MD5, by which W&B knows its files: an archive outlives the trust in a digest, and of MD5
anybody can make two files with the same one.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anyio.to_thread import run_sync

from engine.archive.layout import Layout, disk_errors, sync_directory
from engine.errors import IntegrityError, Side
from engine.records import Blob

PIECE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stored:
    """What was put into an archive."""

    sha256: str
    size: int


class Blobs:
    """The blobs of an archive."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    async def put(self, pieces: AsyncIterator[bytes], blob: Blob) -> Stored:
        """Return when the bytes are on disk.

        Args:
            blob: what they were announced as.

        Raises:
            IntegrityError: they are not what was announced; nothing is kept of them.
            Outage: the disk is full.
        """
        incoming = _Incoming(self._layout)
        try:
            held: list[bytes] = []
            size = 0
            async for piece in pieces:
                held.append(piece)
                size += len(piece)
                if size >= PIECE:
                    await run_sync(incoming.write, held)
                    held, size = [], 0
            return await run_sync(incoming.end, held, blob)
        finally:
            incoming.discard()

    def put_bytes(self, content: bytes) -> Stored:
        """As ``put``, of what is in memory anyway; to be called in a thread."""
        incoming = _Incoming(self._layout)
        try:
            return incoming.end([content], Blob(path=""))
        finally:
            incoming.discard()

    async def read(self, digest: str, offset: int = 0) -> AsyncGenerator[bytes]:
        """The bytes from ``offset`` on; read whole, they are checked.

        Raises:
            IntegrityError: they are missing or damaged.
        """
        path = self._layout.blob(digest)
        hasher = hashlib.sha256()
        with disk_errors(self._layout.side, f"blob {digest}"):
            if not await run_sync(path.is_file):
                raise self._damaged("is missing", path)
            file = await run_sync(path.open, "rb")
            try:
                file.seek(offset)
                while piece := await run_sync(file.read, PIECE):
                    hasher.update(piece)
                    yield piece
            finally:
                file.close()
        if not offset and hasher.hexdigest() != digest:
            raise self._damaged("is damaged", path)

    def _damaged(self, what: str, path: Path) -> IntegrityError:
        return IntegrityError(
            f"a file of the archive {what}",
            side=self._layout.side,
            subject=str(path),
            remedy="export it again with --no-incremental, or restore the archive from a copy",
        )


class _Incoming:
    """Bytes on their way into the archive."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._path: Path | None = None
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._size = 0

    def write(self, pieces: list[bytes], *, sync: bool = False) -> None:
        with disk_errors(Side.DESTINATION, str(self._layout.root)):
            self._path = self._path or self._layout.temporary()
            with self._path.open("ab") as file:
                for piece in pieces:
                    self._sha256.update(piece)
                    self._md5.update(piece)
                    self._size += len(piece)
                    file.write(piece)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())

    def end(self, pieces: list[bytes], blob: Blob) -> Stored:
        self.write(pieces, sync=True)
        self._check(blob)
        stored = Stored(self._sha256.hexdigest(), self._size)
        path = self._layout.blob(stored.sha256)
        with disk_errors(Side.DESTINATION, str(self._layout.root)):
            path.parent.mkdir(parents=True, exist_ok=True)
            assert self._path is not None
            # Also over one that is there: it may be damaged, and it was asked for anew.
            self._path.replace(path)
            self._path = None
            sync_directory(path.parent)
        return stored

    def _check(self, blob: Blob) -> None:
        md5 = base64.b64encode(self._md5.digest()).decode()
        if blob.size is not None and blob.size != self._size:
            raise IntegrityError(
                f"the file has {self._size} bytes and was listed with {blob.size}",
                side=Side.SOURCE,
                subject=f"file {blob.path}",
                remedy="it may have changed while it was read; start again",
            )
        if blob.md5 is not None and blob.md5 != md5:
            raise IntegrityError(
                f"the file has the MD5 {md5} and was listed with {blob.md5}",
                side=Side.SOURCE,
                subject=f"file {blob.path}",
                remedy="it may have changed while it was read; start again",
            )

    def discard(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
