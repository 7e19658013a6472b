"""A source of which only some runs and some keys are wanted, where it cannot choose by itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from engine.archive.filters import Filter
from engine.fingerprints import fingerprint
from engine.nested import NOTHING, value_at
from engine.protocols import LogSource, Source, Unreadable
from engine.records import (
    Artifact,
    ArtifactEntry,
    Blob,
    ConsoleLines,
    HistoryChunk,
    HistoryRows,
    Json,
    MetricPoints,
    Project,
    Run,
    RunFile,
    Selection,
    SystemInfo,
)
from engine.transfer.context import Context

AXES: Final = frozenset({"_step", "_runtime", "_timestamp"})
"""Every row has them: they come along, and make no row wanted beside other keys."""


class Choice:
    """A source through a filter.

    Args:
        source: what is chosen from.
        keys: of histories; points of other keys are left out, and rows that have none of them. None: all.
        filter_text: which runs, as ``engine.archive.filters`` has it; None: as the source does it.

    Attributes:
        missed: those of ``keys`` that no history had that was read.
    """

    def __init__(
        self, source: Source, *, keys: Collection[str] | None = None, filter_text: str | None = None
    ) -> None:
        self._source = source
        self._keys = None if keys is None else frozenset(keys)
        self._deciding = ((self._keys or frozenset()) - AXES) or self._keys
        self._dotted = sorted(key for key in self._keys or () if "." in key)
        self.missed = self._keys or frozenset()
        self._filter_text = filter_text
        self._filter = None if filter_text is None else Filter.of(filter_text)
        self.uri = source.uri

    def open(self, context: Context) -> AbstractAsyncContextManager[SystemInfo]:
        return self._source.open(context)

    async def projects(self, selection: Selection) -> AsyncGenerator[Project]:
        async with aclosing(self._source.projects(self._asked(selection))) as projects:
            async for project in projects:
                yield project

    def _asked(self, selection: Selection) -> Selection:
        if self._filter is None:
            return selection
        return replace(selection, filter=None, limit=None)

    async def runs(self, project: Project, selection: Selection) -> AsyncGenerator[Run | Unreadable]:
        left = selection.limit
        async with aclosing(self._source.runs(project, self._asked(selection))) as runs:
            async for run in runs:
                if left is not None and left <= 0:
                    return
                if isinstance(run, Run) and self._filter is not None and not self._filter.takes(run):
                    continue
                left = None if left is None else left - 1
                yield self._with_keys(run) if isinstance(run, Run) else run

    def _with_keys(self, run: Run) -> Run:
        """A run of which other keys were taken before is not the same to us."""
        if self._keys is None or run.fingerprint is None:
            return run
        return replace(run, fingerprint=fingerprint(run.fingerprint, sorted(self._keys)))

    async def history(self, run: Run) -> AsyncGenerator[HistoryChunk]:
        given = 0
        async with aclosing(self._source.history(run)) as chunks:
            async for chunk in chunks:
                if self._keys is None:
                    yield chunk
                elif isinstance(chunk, MetricPoints):
                    wanted = pc.is_in(
                        chunk.batch.column("key").cast(pa.string()), pa.array(sorted(self._keys))
                    )
                    batch = chunk.batch.filter(wanted)
                    if batch.num_rows:
                        self.missed -= set(batch.column("key").unique().to_pylist())
                        yield MetricPoints(batch=batch)
                elif rows := self._rows(chunk):
                    yield HistoryRows(first=given, rows=rows)
                    given += len(rows)

    def _rows(self, chunk: HistoryRows) -> list[dict[str, Json]]:
        assert self._keys is not None
        assert self._deciding is not None
        rows = []
        for row in chunk.rows:
            kept = {key: value for key, value in row.items() if key in self._keys or key in AXES}
            for key in self._dotted:
                if (value := value_at(row, key)) is not NOTHING:
                    kept[key] = value
            if not self._deciding.isdisjoint(kept):
                self.missed -= kept.keys()
                rows.append(kept)
        return rows

    async def system_metrics(self, run: Run) -> AsyncGenerator[HistoryRows]:
        if isinstance(self._source, LogSource):
            async with aclosing(self._source.system_metrics(run)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def console(self, run: Run) -> AsyncGenerator[ConsoleLines]:
        if isinstance(self._source, LogSource):
            async with aclosing(self._source.console(run)) as parts:
                async for part in parts:
                    yield part

    async def files(self, run: Run) -> AsyncGenerator[RunFile]:
        async with aclosing(self._source.files(run)) as files:
            async for file in files:
                yield file

    async def artifacts(self, run: Run) -> AsyncGenerator[Artifact]:
        async with aclosing(self._source.artifacts(run)) as artifacts:
            async for artifact in artifacts:
                yield artifact

    async def entries(self, artifact: Artifact) -> AsyncGenerator[ArtifactEntry]:
        async with aclosing(self._source.entries(artifact)) as entries:
            async for entry in entries:
                yield entry

    async def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        async with aclosing(self._source.read(blob, offset)) as pieces:
            async for piece in pieces:
                yield piece
