"""MD5 in the forms that W&B wants them: base64 for files and manifests, hex for artifacts and parts."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
READ_SIZE = 256 * 1024
"""Larger reads hash no faster."""

READ_SIZE_OF_PARTS = MIB
"""Unless two threads have to meet after each."""

WORTH_A_THREAD = 64 * 1024
"""Bytes whose MD5 takes as long as handing them to another thread."""


def b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def md5_b64(data: bytes) -> str:
    return b64(hashlib.md5(data, usedforsecurity=False).digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Multipart:
    """When and how a file is sent in parts; the defaults are those of W&B's own client.

    Attributes:
        threshold: files of this size and more go in parts.
        part: bytes of a part.
        most: parts that an object store takes; larger files get larger parts.
        single: bytes that any object store takes in one piece (Azure: 5,000 MiB, S3: 5 GiB). W&B takes a
            file of any size so, which needs no digests of parts; its own client did before it knew parts.
    """

    threshold: int = 2 * 1024 * MIB
    part: int = 100 * MIB
    most: int = 10_000
    single: int = 5_000 * MIB

    def part_size(self, size: int) -> int:
        """Bytes of a part of a file of ``size`` bytes, 0 if it goes in one piece."""
        if size < self.threshold:
            return 0
        if size < self.part * self.most:
            return self.part
        smallest = -(-size // self.most)
        return -(-smallest // 4096) * 4096


@dataclass(frozen=True, slots=True)
class FileDigest:
    """What is known of some bytes after they were read once.

    Attributes:
        md5: base64.
        parts: hex MD5 of each part if the bytes go in parts.
    """

    size: int
    md5: str
    parts: tuple[str, ...] = ()


class Hasher:
    """MD5 of a stream, and of its parts of ``part_size`` bytes where that is not 0.

    W&B wants both of a file that goes in parts. They are taken side by side, in two threads, of bytes that
    are read once.
    """

    def __init__(self, part_size: int = 0) -> None:
        self._whole = hashlib.md5(usedforsecurity=False)
        self._parts = _Parts(part_size) if part_size else None
        self._threads = ThreadPoolExecutor(1, "md5-of-parts") if part_size > WORTH_A_THREAD else None
        self.size = 0

    def update(self, data: bytes | memoryview) -> None:
        """Add bytes; when it returns, they are not needed any more."""
        beside: Future[None] | None = None
        if self._parts is not None and self._threads is not None and len(data) > WORTH_A_THREAD:
            beside = self._threads.submit(self._parts.update, data)
        elif self._parts is not None:
            self._parts.update(data)
        self._whole.update(data)
        self.size += len(data)
        if beside is not None:
            beside.result()

    def digest(self) -> FileDigest:
        """What was found; the end of the stream."""
        if self._threads is not None:
            self._threads.shutdown()
        parts = self._parts.digests() if self._parts is not None else ()
        return FileDigest(self.size, b64(self._whole.digest()), parts)


class _Parts:
    """MD5 of each part of a stream."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._part = hashlib.md5(usedforsecurity=False)
        self._in_part = 0
        self._done: list[str] = []

    def update(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            piece = rest[: self._size - self._in_part]
            self._part.update(piece)
            self._in_part += len(piece)
            rest = rest[len(piece) :]
            if self._in_part == self._size:
                self._end()

    def _end(self) -> None:
        self._done.append(self._part.hexdigest())
        self._part = hashlib.md5(usedforsecurity=False)
        self._in_part = 0

    def digests(self) -> tuple[str, ...]:
        if self._in_part:
            self._end()
        return tuple(self._done)


def hash_file(path: str | Path, multipart: Multipart) -> FileDigest:
    """Read a file once; blocking, hashing releases the GIL.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path costs as much as a small file
        size = os.fstat(file.fileno()).st_size
        part_size = multipart.part_size(size)
        hasher = Hasher(part_size)
        buffer = bytearray(min(READ_SIZE_OF_PARTS if part_size else READ_SIZE, max(size, 1)))
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            hasher.update(view[:count])
    return hasher.digest()


def artifact_digest(entries: Iterable[tuple[str, str]]) -> str:
    """The hex digest of an artifact, from ``(path, entry digest)`` pairs in any order.

    Source: ``wandb/sdk/artifacts/artifact_manifests/artifact_manifest_v1.py``. Sizes, references,
    metadata, name and type do not enter.
    """
    whole = hashlib.md5(b"wandb-artifact-manifest-v1\n", usedforsecurity=False)
    for path, digest in sorted(entries):
        whole.update(f"{path}:{digest}\n".encode())
    return whole.hexdigest()
