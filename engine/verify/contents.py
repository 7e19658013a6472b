"""Files and entries of artifacts: which there are, and what they hold."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio.to_thread

from engine.errors import CommError, EngineError, IntegrityError, NotFound, Side
from engine.fanout import for_each
from engine.protocols import Reader
from engine.records import ArtifactEntry, Blob
from engine.verify.findings import Counts, Level
from engine.verify.values import canonical

B = TypeVar("B", bound=Blob)

READERS = 8
"""Files of one artifact whose bytes are hashed at the same time."""

GROUP, GROUP_BYTES = 64, 4 * 1024 * 1024
"""Local files that are hashed in one go, because the way to a thread costs more than a small file."""

PIECE = 256 * 1024

Detail = tuple[str, str, str]
"""kind, path, what is the matter"""


async def inventory(
    blobs: AsyncGenerator[B], expected: Callable[[B], B | None] = lambda blob: blob
) -> dict[str, B]:
    """What there is by path, the first of those that share one; ``expected`` may change or refuse a blob."""
    found: dict[str, B] = {}
    async with aclosing(blobs):
        async for blob in blobs:
            if (kept := expected(blob)) is not None:
                found.setdefault(kept.path, kept)
    return found


@dataclass(slots=True)
class Contents:
    """Compares what two sides hold under the same paths.

    Args:
        read: of the source and of the destination.
    """

    level: Level
    read: tuple[Reader, Reader]
    counts: Counts
    _found: list[Detail] = field(default_factory=list)

    async def differences(self, expected: Mapping[str, Blob], found: Mapping[str, Blob]) -> list[Detail]:
        """What is missing, extra or another.

        Raises:
            EngineError: bytes cannot be read.
        """
        self._found = []
        pairs = []
        for path in sorted(expected.keys() | found.keys()):
            there = found.get(path)
            if there is None:
                self._found.append(("missing", path, "is missing"))
            elif path not in expected:
                self._found.append(("extra", path, "is not at the source"))
            elif (pair := self._to_hash(path, expected[path], there)) is not None:
                pairs.append(pair)
        await for_each(_grouped(pairs), self._hash_group, limit=READERS)
        return sorted(self._found)

    def _to_hash(self, path: str, expected: Blob, found: Blob) -> tuple[str, Blob, Blob] | None:
        """Compare what is known without reading; the pair, if bytes are to be looked at."""
        if isinstance(expected, ArtifactEntry) and expected.ref is not None:
            self._compare_references(path, expected, found)
            return None
        if isinstance(found, ArtifactEntry) and found.ref is not None:
            self._found.append(("changed", path, f"is a reference to {found.ref!r}, bytes were expected"))
            return None
        if expected.size is not None and found.size is not None and expected.size != found.size:
            self._found.append(("changed", path, f"{expected.size} bytes expected, {found.size} found"))
            return None
        if expected.md5 is not None and found.md5 is not None and expected.md5 != found.md5:
            self._found.append(("changed", path, f"MD5 {expected.md5} expected, {found.md5} found"))
            return None
        if self.level is Level.DEEP:
            return path, expected, found
        local = expected.md5 is None and expected.local_path is not None and found.md5 is not None
        return (path, expected, found) if self.level is Level.FULL and local else None

    def _compare_references(self, path: str, expected: ArtifactEntry, found: Blob) -> None:
        assert isinstance(found, ArtifactEntry)
        for what, was, now in (
            ("reference", expected.ref, found.ref),
            ("size", expected.size, found.size),
            ("digest", expected.digest or expected.md5 or expected.ref, found.digest),
        ):
            if was != now and not (what == "size" and was is None):
                self._found.append(("changed", path, f"{what} {was!r} expected, {now!r} found"))

    async def _hash_group(self, group: list[tuple[str, Blob, Blob]]) -> None:
        local = [expected.local_path for _, expected, _ in group if expected.local_path is not None]
        hashed = iter(await anyio.to_thread.run_sync(_hash_files, local)) if local else iter(())
        for path, expected, found in group:
            told = next(hashed) if expected.local_path is not None else None
            await self._compare_bytes(path, expected, found, told)

    async def _compare_bytes(
        self, path: str, expected: Blob, found: Blob, local: tuple[int, str] | None
    ) -> None:
        size, md5 = local or await self._streamed(0, expected)
        self.counts.bytes_hashed += size
        if found.md5 is not None and found.md5 != md5:
            self._found.append(("changed", path, f"MD5 {md5} expected, {found.md5} found"))
        elif self.level is Level.DEEP:
            try:
                got_size, got = await self._streamed(1, found)
            except NotFound:
                self._found.append(("missing", path, "is listed, but its bytes are missing"))
                return
            except (IntegrityError, CommError) as error:
                self._found.append(("changed", path, f"cannot be read whole: {error.message}"))
                return
            self.counts.bytes_hashed += got_size
            if got_size != size:
                self._found.append(("changed", path, f"{size} bytes expected, {got_size} came"))
            elif got != md5:
                self._found.append(("changed", path, f"bytes with MD5 {md5} expected, with {got} came"))

    async def _streamed(self, side: int, blob: Blob) -> tuple[int, str]:
        whole, size = hashlib.md5(usedforsecurity=False), 0
        async with aclosing(self.read[side](blob)) as pieces:
            async for piece in pieces:
                whole.update(piece)
                size += len(piece)
        return size, base64.b64encode(whole.digest()).decode()


def _grouped(pairs: list[tuple[str, Blob, Blob]]) -> Iterator[list[tuple[str, Blob, Blob]]]:
    group: list[tuple[str, Blob, Blob]] = []
    size = 0
    for pair in pairs:
        group.append(pair)
        size += pair[1].size or GROUP_BYTES
        if len(group) == GROUP or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _hash_files(paths: list[Path]) -> list[tuple[int, str]]:
    """Size and MD5 of local files; blocking."""
    found = []
    for path in paths:
        whole, size = hashlib.md5(usedforsecurity=False), 0
        try:
            with path.open("rb", buffering=0) as file:
                for piece in iter(partial(file.read, PIECE), b""):
                    whole.update(piece)
                    size += len(piece)
        except OSError as error:
            raise EngineError(
                f"cannot be read: {error.strerror}", side=Side.SOURCE, subject=str(path), exc=error
            ) from error
        found.append((size, base64.b64encode(whole.digest()).decode()))
    return found


def leaves(found: Mapping[str, Blob]) -> Iterator[str]:
    """By which files or entries go into a Merkle tree."""
    for path, blob in found.items():
        ref, digest = (blob.ref, blob.digest) if isinstance(blob, ArtifactEntry) else (None, None)
        yield canonical([path, blob.size, blob.md5, ref, digest])
