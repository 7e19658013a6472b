"""Lists of files: what a run, or an artifact version, consists of besides what is said of it.

A list is a blob itself, one JSON object a line: ``{"file": {…}, "sha256": …, "bytes": …}``.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final

from anyio.to_thread import run_sync

from engine.archive.blobs import PIECE, Blobs
from engine.archive.codec import plain
from engine.archive.layout import Layout, disk_errors, dumps, sha256_of
from engine.errors import IntegrityError
from engine.fanout import for_each
from engine.protocols import Reader
from engine.records import Blob, Json, Receipt
from engine.transfer.context import Context

FILES_AT_ONCE: Final = 16
"""Files of one list that are read at the same time."""

LINES_AT_ONCE: Final = 1_000


class Contents:
    """The lists of an archive, and the files in them."""

    def __init__(self, layout: Layout, blobs: Blobs) -> None:
        self._layout = layout
        self._blobs = blobs

    async def store(self, files: AsyncIterator[Any], read: Reader, context: Context) -> tuple[Json, Receipt]:
        """Keep the bytes of these files or entries, and a list of them; what a record tells of the list."""
        lines: dict[int, str] = {}
        total = 0

        async def store(numbered: tuple[int, Blob]) -> None:
            nonlocal total
            number, blob = numbered
            told = {"file": plain(blob), "sha256": None, "bytes": 0}
            if getattr(blob, "ref", None) is None:
                async with context.budget.hold(2 * PIECE), aclosing(read(blob)) as pieces:
                    stored = await self._blobs.put(pieces, blob)
                told |= {"sha256": stored.sha256, "bytes": stored.size}
                total += stored.size
                context.counters.bytes += stored.size
            context.counters.files += 1
            lines[number] = dumps(told)

        await for_each(_numbered(files), store, limit=FILES_AT_ONCE)
        text = "".join(f"{lines[number]}\n" for number in sorted(lines))
        listed = await run_sync(self._blobs.put_bytes, text.encode())
        told = {"count": len(lines), "bytes": total, "sha256": listed.sha256}
        return told, Receipt(items=1, files=len(lines), bytes=total)

    async def lines(self, digest: str) -> AsyncGenerator[Mapping[str, Json]]:
        """The lines of a list, after it was checked.

        Raises:
            IntegrityError: it is missing or damaged.
        """
        path = self._layout.blob(digest)

        def check() -> None:
            if not path.is_file() or sha256_of(path) != digest:
                raise self._layout.damaged(path, ValueError("a list of files is missing or not what it was"))

        def some() -> list[Mapping[str, Json]]:
            return [json.loads(line) for line, _ in zip(file, range(LINES_AT_ONCE), strict=False)]

        with disk_errors(self._layout.side, str(path)):
            await run_sync(check)
            with path.open(encoding="ascii") as file:
                while lines := await run_sync(some):
                    for line in lines:
                        yield line

    async def are_sound(self, digest: str) -> bool:
        """Whether a list and all files in it are there and what they were."""
        try:
            async with aclosing(self.lines(digest)) as lines:
                async for line in lines:
                    if line["sha256"] is not None and not await run_sync(self._is_sound, line["sha256"]):
                        return False
        except IntegrityError:
            return False
        return True

    def _is_sound(self, digest: str) -> bool:
        path = self._layout.blob(digest)
        return path.is_file() and sha256_of(path) == digest


async def _numbered(blobs: AsyncIterator[Blob]) -> AsyncIterator[tuple[int, Blob]]:
    number = 0
    async for blob in blobs:
        yield number, blob
        number += 1
