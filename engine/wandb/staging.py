"""Entries of an artifact on their way to a digest, which W&B wants before it takes a byte.

Local files are hashed where they are. Bytes of a remote source whose digest it does not tell are kept:
small files in memory, as many as a fixed share of the byte budget holds, all others in the spool.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from io import BufferedWriter
from pathlib import Path
from typing import Self
from uuid import uuid4

import anyio
import anyio.to_thread

from engine.errors import EngineError, IntegrityError, Side
from engine.protocols import Reader
from engine.records import ArtifactEntry
from engine.transfer.context import Context
from engine.wandb.digests import MIB, FileDigest, Hasher, Multipart, hash_file, md5_b64
from engine.wandb.fanout import for_each
from engine.wandb.jsontext import without_passwords
from engine.wandb.manifest import Entry
from engine.wandb.names import downloadable_path, is_safe_path
from engine.wandb.spool import spooling
from engine.wandb.uploads import AtSource, InMemory, OnDisk, Payload

SMALL = MIB
"""Remote files up to this size are kept in memory."""

SHARE = 8 * MIB
"""Bytes that one artifact keeps in memory. They are taken from the budget at once: an artifact that waited
for more while it holds some could wait for another that does the same."""

INLINE = 64 * 1024
"""Hashing this many bytes takes less time than the way to a thread and back."""

READERS = 8
"""Entries of one artifact that are read at the same time."""


@dataclass(slots=True)
class Staging:
    """The entries of one artifact version, until it is committed; ``open`` makes one."""

    context: Context
    multipart: Multipart
    subject: str
    spool: Path
    _memory_left: int
    _entries: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def open(cls, context: Context, multipart: Multipart, subject: str) -> AsyncGenerator[Self]:
        """Takes a share of the byte budget for the block, and removes what was spooled after it."""
        share = min(SHARE, max(1, context.budget.total // 8))
        spool = context.spool / f"artifact-{uuid4().hex}"
        async with context.budget.hold(share):
            try:
                yield cls(context, multipart, subject, spool, share)
            finally:
                if spool.exists():
                    shutil.rmtree(spool)

    async def collect(self, entries: AsyncIterator[ArtifactEntry], read: Reader) -> list[Entry]:
        """Digest every entry; the result is ordered by path.

        Raises:
            EngineError: an entry cannot be read, or is not what the source announced.
        """
        seen: set[str] = set()

        async def accepted() -> AsyncGenerator[ArtifactEntry]:
            async for entry in entries:
                path = downloadable_path(entry.path)
                if not is_safe_path(path):
                    self._refuse(entry.path, "it leaves its directory")
                elif path in seen:
                    self._refuse(entry.path, "an entry of that path came before")
                else:
                    seen.add(path)
                    if path == entry.path:
                        yield entry
                    else:
                        self.context.lose("path_renamed", self.subject, f"{entry.path!r} became {path!r}")
                        yield replace(entry, path=path)

        async with aclosing(accepted()) as good:
            await for_each(good, partial(self._add, read), limit=READERS)
        for path in [path for path in self._entries if self._below_a_file(path)]:
            del self._entries[path]
        return [self._entries[path] for path in sorted(self._entries)]

    def _below_a_file(self, path: str) -> bool:
        parents = path.split("/")[:-1]
        for depth in range(1, len(parents) + 1):
            parent = "/".join(parents[:depth])
            if parent in self._entries:
                self._refuse(path, f"{parent!r} is a file")
                return True
        return False

    def _refuse(self, path: str, why: str) -> None:
        self.context.lose("path_refused", self.subject, f"entry {path!r}: {why}")

    async def _add(self, read: Reader, entry: ArtifactEntry) -> None:
        if entry.ref is not None:
            ref = without_passwords(entry.ref)
            if ref != entry.ref:
                self.context.lose("password_redacted", self.subject, f"reference {entry.path!r}")
            self._entries[entry.path] = Entry(
                path=entry.path,
                digest=without_passwords(entry.digest or entry.md5 or ref),
                size=entry.size,
                ref=ref,
                extra=entry.extra,
            )
            return
        found, payload = await self._digested(read, entry)
        self._entries[entry.path] = Entry(
            path=entry.path, digest=found.md5, size=found.size, parts=found.parts, payload=payload
        )

    async def _digested(self, read: Reader, entry: ArtifactEntry) -> tuple[FileDigest, Payload]:
        known = entry.size is not None and entry.md5 is not None and not self.multipart.part_size(entry.size)
        if entry.local_path is not None:
            return await self._hashed(entry.local_path), OnDisk(entry.local_path)
        if known:
            assert entry.size is not None
            assert entry.md5 is not None
            return FileDigest(entry.size, entry.md5), AtSource(entry, read)
        if entry.size is not None and entry.size <= min(SMALL, self._memory_left):
            self._memory_left -= entry.size
            return await self._kept(read, entry, entry.size)
        return await self._spooled(read, entry)

    async def _hashed(self, path: Path) -> FileDigest:
        try:
            if path.stat().st_size <= INLINE:  # noqa: ASYNC240 - one call, on a file about to be read
                return hash_file(path, self.multipart)
            return await anyio.to_thread.run_sync(hash_file, path, self.multipart)
        except OSError as error:
            raise EngineError(
                f"the file cannot be read: {error.strerror}", side=Side.SOURCE, subject=str(path), exc=error
            ) from error

    async def _kept(self, read: Reader, entry: ArtifactEntry, size: int) -> tuple[FileDigest, Payload]:
        data = bytearray()
        async with aclosing(read(entry)) as pieces:
            async for piece in pieces:
                data += piece
                if len(data) > size:
                    break
        if len(data) != size:
            raise _wrong_size(entry, len(data))
        content = bytes(data)
        return FileDigest(size, md5_b64(content)), InMemory(content)

    async def _spooled(self, read: Reader, entry: ArtifactEntry) -> tuple[FileDigest, Payload]:
        with spooling(self.spool):
            self.spool.mkdir(exist_ok=True)
        path = self.spool / uuid4().hex
        # Without an announced size it is only known afterwards whether the file has to go in parts.
        hasher = Hasher(self.multipart.part_size(entry.size or 0))
        with path.open("wb") as file:
            async with aclosing(read(entry)) as pieces:
                async for piece in pieces:
                    await anyio.to_thread.run_sync(_take, file, hasher, piece)
        found = hasher.digest()
        if entry.size is not None and found.size != entry.size:
            raise _wrong_size(entry, found.size)
        if self.multipart.part_size(found.size) and not found.parts:
            found = await anyio.to_thread.run_sync(hash_file, path, self.multipart)
        if entry.md5 is not None and found.md5 != entry.md5:
            raise IntegrityError(
                "the bytes do not have the digest that the source announced",
                side=Side.SOURCE,
                subject=entry.path,
            )
        return found, OnDisk(path)


def _take(file: BufferedWriter, hasher: Hasher, piece: bytes) -> None:
    with spooling(Path(file.name)):
        file.write(piece)
    hasher.update(piece)


def _wrong_size(entry: ArtifactEntry, got: int) -> IntegrityError:
    return IntegrityError(
        f"the source announced {entry.size} bytes, but sent {'fewer' if got < (entry.size or 0) else 'more'}",
        side=Side.SOURCE,
        subject=entry.path,
        remedy="did it change while it was read? run the transfer again",
    )
