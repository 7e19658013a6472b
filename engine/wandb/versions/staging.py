"""Entries of an artifact on their way to a digest, which W&B wants before it takes a byte.

Local files are hashed where they are. Bytes of a remote source whose digest it
does not tell are kept: small files in memory, as many as a fixed share of the byte budget holds, all others
in the spool; if the disk is full, they are only hashed, and read once more when they are sent. Small local
files are kept in memory too as long as the share lasts, and read again otherwise. Remote bytes of a known
digest are left where they are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Self, TypeAlias
from uuid import uuid4

import anyio
import anyio.to_thread

from engine.errors import IntegrityError, Side
from engine.fanout import for_each
from engine.protocols import Reader
from engine.records import ArtifactEntry
from engine.transfer.context import Context
from engine.wandb.digests import MIB, WORTH_A_THREAD, FileDigest, Multipart, hash_file, md5_b64
from engine.wandb.jsontext import without_passwords
from engine.wandb.names import downloadable_path, is_safe_path
from engine.wandb.uploads.lanes import Lanes
from engine.wandb.uploads.payloads import (
    SMALL,
    AtSource,
    InMemory,
    OnDisk,
    Payload,
    each_read,
    unreadable,
    wrong_digest,
)
from engine.wandb.uploads.spool import SpoolFile
from engine.wandb.uploads.uploader import STREAMED
from engine.wandb.versions.manifest import Entry

SHARE = 8 * MIB
"""Bytes that one artifact keeps in memory. They are taken from the budget at once: an artifact that waited
for more while it holds some could wait for another that does the same."""

TOGETHER = WORTH_A_THREAD
"""Local files up to this size are hashed where they are read: several threads that take turns with the
interpreter after each small file spend three times as long on it."""

GROUP, GROUP_BYTES = 64, MIB
"""So many of them are hashed before anybody else has a turn."""

READERS = 8
"""Entries, or groups of them, of one artifact that are read at the same time."""

Group: TypeAlias = list[ArtifactEntry]


@dataclass(slots=True)
class Staging:
    """The entries of one artifact version, until it is committed; ``open`` makes one."""

    context: Context
    lanes: Lanes
    multipart: Multipart
    subject: str
    spool: Path
    _memory_left: int
    _entries: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, context: Context, lanes: Lanes, multipart: Multipart, subject: str
    ) -> AsyncGenerator[Self]:
        """Takes a share of the byte budget for the block, and removes what was spooled after it."""
        share = min(SHARE, max(1, context.budget.total // 8))
        spool = context.spool / f"artifact-{uuid4().hex}"
        async with lanes.keep(share):
            staging = cls(context, lanes, multipart, subject, spool, share)
            try:
                yield staging
            finally:
                context.notices.discard(staging._notice)
                if spool.exists():
                    await anyio.to_thread.run_sync(shutil.rmtree, spool)

    @property
    def _notice(self) -> str:
        return f"the disk of {self.context.spool} is full; files of {self.subject} are read twice"

    async def collect(self, entries: AsyncIterator[ArtifactEntry], read: Reader) -> list[Entry]:
        """Digest every entry; the result is ordered by path.

        Raises:
            EngineError: an entry cannot be read, or is not what the source announced; it is named.
        """
        async with aclosing(_groups(self.accepted(entries))) as groups:
            await for_each(groups, partial(self._add_group, read), limit=READERS)
        for path in [path for path in self._entries if self._below_a_file(path)]:
            del self._entries[path]
        return [self._entries[path] for path in sorted(self._entries)]

    async def accepted(self, entries: AsyncIterator[ArtifactEntry]) -> AsyncGenerator[ArtifactEntry]:
        """Those that W&B's client will be able to download, the others are recorded as losses."""
        seen: set[str] = set()
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

    async def _add_group(self, read: Reader, group: Group) -> None:
        if _is_small_file(group[0]):
            await self._add_files(group)
            return
        (entry,) = group
        if entry.ref is not None:
            self._add_reference(entry, entry.ref)
            return
        self._take(entry, *await self._digested(read, entry))

    def _add_reference(self, entry: ArtifactEntry, given: str) -> None:
        ref = without_passwords(given)
        if ref != given:
            self.context.lose("password_redacted", self.subject, f"reference {entry.path!r}")
        self._entries[entry.path] = Entry(
            path=entry.path,
            digest=without_passwords(entry.digest or entry.md5 or ref),
            size=entry.size,
            ref=ref,
            extra=entry.extra,
        )

    def _take(self, entry: ArtifactEntry, found: FileDigest, payload: Payload) -> None:
        self._entries[entry.path] = Entry(
            path=entry.path, digest=found.md5, size=found.size, parts=found.parts, payload=payload
        )

    async def _add_files(self, group: Group) -> None:
        paths = [os.fspath(entry.local_path) for entry in group if entry.local_path is not None]
        # What is not used of it is given back, so that groups that run at the same time never share it.
        room = min(self._memory_left, sum(entry.size or 0 for entry in group))
        self._memory_left -= room
        hashing = _Hashing(self.multipart, room)
        hashed = await each_read(hashing.file, paths)
        self._memory_left += hashing.room
        for entry, (found, payload) in zip(group, hashed, strict=True):
            self._take(entry, found, payload)

    async def _digested(self, read: Reader, entry: ArtifactEntry) -> tuple[FileDigest, Payload]:
        if entry.local_path is not None:
            path = os.fspath(entry.local_path)
            return await anyio.to_thread.run_sync(_hashed, path, self.multipart), OnDisk(path)
        if self._is_known(entry):
            assert entry.size is not None
            assert entry.md5 is not None
            return FileDigest(entry.size, entry.md5), AtSource(entry, read)
        if entry.size is not None and entry.size <= min(SMALL, self._memory_left):
            self._memory_left -= entry.size
            fetch: Fetch = partial(self._kept, read, entry, entry.size)
        else:
            fetch = partial(self._spooled, read, entry)
        # What comes in wrong is asked for once more: networks and caches err, disks seldom.
        try:
            return await fetch()
        except IntegrityError:
            return await fetch()

    def _is_known(self, entry: ArtifactEntry) -> bool:
        """Whether the source tells all that W&B wants to know before it takes a byte.

        Of the parts of a file nobody tells a digest, so that it has to go in one piece.
        """
        return entry.size is not None and entry.md5 is not None and entry.size <= self.multipart.single

    def spooled_bytes(self, entry: ArtifactEntry) -> int:
        """What an entry may take of the disk until its version is committed."""
        return 0 if entry.local_path is not None or self._is_known(entry) else entry.size or 0

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
        found = FileDigest(size, md5_b64(content))
        if entry.md5 is not None and found.md5 != entry.md5:
            raise wrong_digest(entry.path)
        return found, InMemory(content)

    async def _spooled(self, read: Reader, entry: ArtifactEntry) -> tuple[FileDigest, Payload]:
        # Without an announced size it is only known afterwards whether the file has to go in parts.
        part_size = self.multipart.part_size(entry.size or 0)
        file = SpoolFile(self.spool / uuid4().hex, entry.size or 0, part_size)
        with closing(file):
            async with self.lanes.memory(STREAMED), aclosing(read(entry)) as pieces:
                async for piece in pieces:
                    await anyio.to_thread.run_sync(file.append, piece)
        found = file.digest()
        if entry.size is not None and found.size != entry.size:
            raise _wrong_size(entry, found.size)
        if entry.md5 is not None and found.md5 != entry.md5:
            raise wrong_digest(entry.path)
        if not found.size:
            return found, InMemory(b"")
        if file.is_kept:
            if self.multipart.part_size(found.size) and not found.parts:
                found = await anyio.to_thread.run_sync(hash_file, file.path, self.multipart)
            return found, OnDisk(str(file.path))
        self.context.notices.add(self._notice)
        known = replace(entry, size=found.size, md5=found.md5)
        if found.size <= self.multipart.single:
            # In one piece, since not all sources can read a part.
            return FileDigest(found.size, found.md5), AtSource(known, read)
        return (found, AtSource(known, read)) if found.parts else await self._spooled(read, known)


Fetch: TypeAlias = Callable[[], Awaitable[tuple[FileDigest, Payload]]]


def _is_small_file(entry: ArtifactEntry) -> bool:
    return entry.local_path is not None and entry.size is not None and entry.size <= TOGETHER


async def _groups(entries: AsyncGenerator[ArtifactEntry]) -> AsyncGenerator[Group]:
    """Small local files in groups, everything else alone."""
    group: Group = []
    size = 0
    async with aclosing(entries):
        async for entry in entries:
            if not _is_small_file(entry):
                yield [entry]
                continue
            group.append(entry)
            size += entry.size or 0
            if len(group) == GROUP or size >= GROUP_BYTES:
                yield group
                group, size = [], 0
    if group:
        yield group


@dataclass(slots=True)
class _Hashing:
    """Digests small files, and keeps the bytes of as many as there is room for.

    Attributes:
        room: bytes that may still be kept.
    """

    multipart: Multipart
    room: int

    def file(self, path: str) -> tuple[FileDigest, Payload]:
        try:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path costs as much as the read
                data = file.read(TOGETHER + 1)
        except OSError as error:
            raise unreadable(path, error) from error
        if len(data) > TOGETHER:  # it has grown since it was listed
            return _hashed(path, self.multipart), OnDisk(path)
        found = FileDigest(len(data), md5_b64(data))
        if len(data) > self.room:
            return found, OnDisk(path)
        self.room -= len(data)
        return found, InMemory(data)


def _hashed(path: str, multipart: Multipart) -> FileDigest:
    try:
        return hash_file(path, multipart)
    except OSError as error:
        raise unreadable(path, error) from error


def _wrong_size(entry: ArtifactEntry, got: int) -> IntegrityError:
    return IntegrityError(
        f"the source announced {entry.size} bytes, but sent {'fewer' if got < (entry.size or 0) else 'more'}",
        side=Side.SOURCE,
        subject=entry.path,
        remedy="did it change while it was read? run the transfer again",
    )
