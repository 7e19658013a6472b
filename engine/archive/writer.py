"""One run being archived.

Files and artifacts are in the archive when their call returns; tables wait in the staging directory until
``finish``, which puts them in their places and then writes the record that refers to them. A process that is
killed at any moment leaves the record of before, and what that refers to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from anyio.to_thread import run_sync

from engine.archive import points, rows
from engine.archive.codec import plain
from engine.archive.contents import Contents
from engine.archive.keeping import write_record
from engine.archive.layout import Layout, RunPlace, disk_errors, dumps, sha256_of, sync_file
from engine.archive.names import portable
from engine.errors import Side
from engine.protocols import Reader
from engine.records import (
    Artifact,
    ArtifactEntry,
    ConsoleLines,
    HistoryChunk,
    HistoryRows,
    Json,
    MetricPoints,
    Receipt,
    Run,
    RunFile,
)
from engine.transfer.context import Context

HISTORY: Final = "history"
POINTS: Final = "points"
SYSTEM_METRICS: Final = "system-metrics"
CONSOLE: Final = "console"


@dataclass(slots=True, kw_only=True)
class ArchiveRunWriter:
    """A ``RunWriter``, and a ``LogWriter``.

    Args:
        run: as it is kept, with the namespace that it has in the archive.
        before: the record that is there.
        logs: whether to keep system metrics and console.
    """

    run: Run
    place: RunPlace
    layout: Layout
    contents: Contents
    context: Context
    before: Mapping[str, Json]
    logs: bool
    parts: dict[str, Json] = field(default_factory=dict)
    _staged: dict[str, Path] = field(default_factory=dict)

    def resume(self, part: str, note: Json) -> None:  # noqa: ARG002 - the note says it
        self.parts |= note

    # -- tables ----------------------------------------------------------------------------------

    async def write_history(self, chunks: AsyncIterator[HistoryChunk]) -> Receipt:
        as_points: points.PointWriter | None = None
        as_rows: rows.RowWriter | None = None
        wide, long = self._new(HISTORY), self._new(POINTS)
        with disk_errors(Side.DESTINATION, str(self.place.record)), ExitStack() as ends:
            async for chunk in chunks:
                match chunk:
                    case MetricPoints():
                        if as_points is None:
                            as_points = ends.enter_context(points.PointWriter(long, self.run.id))
                        await run_sync(as_points.add, chunk.batch)
                    case HistoryRows():
                        if as_rows is None:
                            as_rows = ends.enter_context(
                                rows.RowWriter(wide, self.run.id, self.context.spool)
                            )
                        await run_sync(as_rows.add, chunk.rows)
            await run_sync(ends.close)
        told: dict[str, Json] = {HISTORY: None, POINTS: None}
        if as_rows is not None:
            told[HISTORY] = await self._stage(HISTORY, wide, rows.FORM, as_rows.count, as_rows.points)
        if as_points is not None:
            told[POINTS] = await self._stage(POINTS, long, points.FORM, as_points.count, as_points.count)
        self.parts |= told
        counted = [table for table in told.values() if table is not None]
        total = sum(table["points"] for table in counted)
        written = as_rows.count if as_rows is not None else 0
        self.context.counters.points += total
        self.context.counters.rows += written
        return Receipt(items=1, points=total, rows=written, note=told)

    async def write_logs(
        self, metrics: AsyncIterator[HistoryRows], console: AsyncIterator[ConsoleLines]
    ) -> None:
        if not self.logs:
            return

        async def measured() -> AsyncIterator[list[Mapping[str, Json]]]:
            async for chunk in metrics:
                yield list(chunk.rows)

        async def written() -> AsyncIterator[list[Mapping[str, Json]]]:
            async for part in console:
                yield [{k: v for k, v in asdict(line).items() if v is not None} for line in part.lines]

        await self._write_rows(SYSTEM_METRICS, measured())
        await self._write_rows(CONSOLE, written())

    async def _write_rows(self, part: str, chunks: AsyncIterator[list[Mapping[str, Json]]]) -> None:
        path = self._new(part)
        writer = rows.RowWriter(path, self.run.id, self.context.spool)
        with disk_errors(Side.DESTINATION, str(self.place.record)), ExitStack() as ends:
            ends.enter_context(writer)
            async for chunk in chunks:
                await run_sync(writer.add, chunk)
            await run_sync(ends.close)
        if writer.count:
            self.parts[part] = await self._stage(part, path, rows.FORM, writer.count, writer.points)
        else:
            self.parts[part] = None
            path.unlink(missing_ok=True)

    def _new(self, part: str) -> Path:
        """Where a table is written first; what an earlier attempt left is thrown away."""
        if (left := self._staged.pop(part, None)) is not None:
            left.unlink(missing_ok=True)
        return self.layout.temporary()

    async def _stage(self, part: str, path: Path, form: str, count: int, values: int) -> Json:
        def settled() -> Json:
            sync_file(path)
            return {
                "form": form,
                "rows": count,
                "points": values,
                "sha256": sha256_of(path),
                "bytes": path.stat().st_size,
            }

        with disk_errors(Side.DESTINATION, str(self.place.record)):
            told = await run_sync(settled)
        self._staged[part] = path
        return told

    # -- bytes -----------------------------------------------------------------------------------

    async def write_files(self, files: AsyncIterator[RunFile], read: Reader) -> Receipt:
        listed, receipt = await self.contents.store(files, read, self.context)
        note = {"files": listed if listed["count"] else None}
        self.parts |= note
        return replace(receipt, note=note)

    async def write_artifact(
        self, artifact: Artifact, entries: AsyncIterator[ArtifactEntry], read: Reader
    ) -> Receipt:
        listed, receipt = await self.contents.store(entries, read, self.context)
        if artifact.namespace != self.run.namespace and artifact.run_id == self.run.id:
            artifact = replace(artifact, namespace=self.run.namespace)
        name = portable("\0".join((artifact.type, artifact.name, str(artifact.version))))
        record = {"artifact": plain(artifact), "entries": listed}
        path = self.place.artifacts / f"{name}.json"
        with disk_errors(Side.DESTINATION, str(path)):
            await run_sync(self.layout.write, path, dumps(record).encode())
        return receipt

    # -- the record ------------------------------------------------------------------------------

    async def finish(self, *, complete: bool = True) -> Receipt:
        losses = self.context.losses.of_run(f"run {self.run.id}")
        with disk_errors(Side.DESTINATION, str(self.place.record)):
            await run_sync(self._commit, complete, [{**asdict(loss)} for loss in losses])
        self.context.losses.forget_run(f"run {self.run.id}")
        return Receipt(items=1)

    def _commit(self, complete: bool, losses: list[Json]) -> None:
        before = self.before.get("parts", {})
        # In an order of their own: which of them arrives first is a matter of chance.
        known = sorted({**before, **self.parts}.items())
        parts = {name: part for name, part in known if part is not None}
        for part, staged in self._staged.items():
            if parts[part] == before.get(part) and self.place.table(part).is_file():
                staged.unlink(missing_ok=True)
            else:
                self.layout.place(staged, self.place.table(part))
        self._staged.clear()
        artifacts = {path.name: sha256_of(path) for path in sorted(self.place.artifacts.glob("*.json"))}
        told = {"run": plain(self.run), "complete": complete, "parts": parts, "artifacts": artifacts}
        if not write_record(self.layout, self.place.record, self.before, told, losses=losses):
            return
        # What the source has no more, after the record, so that it never refers to what is not there.
        for part in self.parts:
            if self.parts[part] is None and (gone := self.place.table(part)).is_file():
                self.layout.set_aside(gone)
                gone.unlink()
