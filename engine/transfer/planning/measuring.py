"""How much there is of single runs: points, files, bytes, and the requests that they take."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeVar

from engine.errors import AuthError, EngineError, Outage, Problem
from engine.protocols import Measuring, RunRehearsal, Source
from engine.records import (
    Artifact,
    ArtifactEntry,
    Blob,
    HistoryRows,
    HistorySize,
    MetricPoints,
    Run,
    RunFile,
)
from engine.transfer.ledger.items import Kind
from engine.transfer.ledger.journal import artifact_key
from engine.transfer.ledger.proofs import Known
from engine.transfer.options import Options
from engine.transfer.planning.plan import ExpectedFailure
from engine.transfer.planning.sampling import Tallies

CAUSES = 20
"""Different failures that are told."""

HISTORY_REQUESTS = "history requests"
"""In thousandths, because tallies are whole numbers."""
SERVED_POINTS = "served points"
DOWNLOADS = "source downloads"
DESTINATION = "destination "
"""Before the name of a class of endpoint."""

BlobT = TypeVar("BlobT", RunFile, ArtifactEntry)


@dataclass(slots=True)
class PlannedRun:
    """A run that is to be moved.

    Attributes:
        known: what need not be done again.
        listed: the requests that it takes by what is listed of it; parts come on top.
    """

    run: Run
    known: Known
    rehearsal: RunRehearsal | None
    listed: Counter[str]
    tally: Counter[str] = field(default_factory=Counter)


class Failures:
    """What cannot be looked at, by cause."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], ExpectedFailure] = {}

    def add(self, error: Exception, example: str) -> None:
        """Note a failure.

        Raises:
            Exception: it is a defect, or means that all that comes will fail too.
        """
        hopeless = isinstance(error, Outage) or (isinstance(error, AuthError) and error.status == 401)
        if hopeless or not isinstance(error, EngineError):
            raise error
        key = error.kind, error.message
        known = self._found.get(key)
        if known is None and len(self._found) < CAUSES:
            self._found[key] = ExpectedFailure(problem=Problem.of(error), count=1, example=example)
        elif known is not None:
            self._found[key] = ExpectedFailure(
                problem=known.problem, count=known.count + 1, example=known.example
            )

    def told(self) -> tuple[ExpectedFailure, ...]:
        """The most frequent first."""
        return tuple(sorted(self._found.values(), key=lambda failure: -failure.count))


class Measurer:
    """Measures runs, several batches at a time.

    Attributes:
        tallies: what was counted of each run.
        exact: whether all points were counted, rather than estimated.
        largest: bytes and name of the largest file.
    """

    def __init__(self, source: Source, options: Options, failures: Failures) -> None:
        self.tallies = Tallies()
        self.exact = True
        self.largest: tuple[int, str] | None = None
        self._source = source
        self._options = options
        self._failures = failures
        self._spools: list[int] = []

    @property
    def spool_bytes(self) -> int:
        """Temporary data of the runs that need most, as many as may be under way together."""
        return sum(self._spools)

    async def measure(self, batch: Sequence[PlannedRun]) -> None:
        """Count what there is of each of these runs."""
        if self._options.history:
            await self._histories([run for run in batch if Kind.HISTORY not in run.known.notes])
        for planned in batch:
            if self._options.files and Kind.FILES not in planned.known.notes:
                await self._files(planned)
            if self._options.artifacts:
                await self._artifacts(planned)
            self._settle(planned)

    # -- histories ---------------------------------------------------------------------------------

    async def _histories(self, batch: Sequence[PlannedRun]) -> None:
        by_id = {planned.run.id: planned for planned in batch}
        for run_id, size in (await self._sizes(batch)).items():
            planned = by_id[run_id]
            self.exact = self.exact and size.exact
            planned.tally.update(
                {
                    "points": size.points,
                    "rows": size.rows,
                    SERVED_POINTS: size.points if size.requests else 0,
                    HISTORY_REQUESTS: round(1000 * size.requests),
                }
            )
            if planned.rehearsal is not None:
                planned.rehearsal.history(size)

    async def _sizes(self, batch: Sequence[PlannedRun]) -> Mapping[str, HistorySize]:
        if not isinstance(self._source, Measuring):
            return {planned.run.id: await self._read_size(planned.run) for planned in batch}
        try:
            return await self._source.history_sizes([planned.run for planned in batch])
        except EngineError as error:
            if len(batch) == 1:
                self._failures.add(error, f"history of run {batch[0].run.id}")
                return {}
        # One of them is the cause; the others can be measured.
        found: dict[str, HistorySize] = {}
        for planned in batch:
            found |= await self._sizes([planned])
        return found

    async def _read_size(self, run: Run) -> HistorySize:
        """For sources that have no count: by reading."""
        points = rows = 0
        keys: set[str] = set()
        try:
            async with aclosing(self._source.history(run)) as chunks:
                async for chunk in chunks:
                    match chunk:
                        case MetricPoints():
                            points += chunk.batch.num_rows
                            keys |= set(chunk.batch.column("key").dictionary.to_pylist())
                        case HistoryRows():
                            rows += len(chunk.rows)
                            points += sum(map(len, chunk.rows))
        except EngineError as error:
            self._failures.add(error, f"history of run {run.id}")
        return HistorySize(points=points, rows=rows or points // max(1, len(keys)), keys=tuple(sorted(keys)))

    # -- files and artifacts -----------------------------------------------------------------------

    async def _files(self, planned: PlannedRun) -> None:
        try:
            async with aclosing(self._source.files(planned.run)) as files:
                counted = self._counted(files, "files", planned.tally)
                await (planned.rehearsal.files(counted) if planned.rehearsal else _exhaust(counted))
        except EngineError as error:
            self._failures.add(error, f"files of run {planned.run.id}")

    async def _artifacts(self, planned: PlannedRun) -> None:
        arrived = {} if self._options.recheck_artifacts else planned.known.artifacts
        try:
            async with aclosing(self._source.artifacts(planned.run)) as artifacts:
                async for artifact in artifacts:
                    if artifact_key(artifact) not in arrived:
                        await self._artifact(artifact, planned)
        except EngineError as error:
            self._failures.add(error, f"artifacts of run {planned.run.id}")

    async def _artifact(self, artifact: Artifact, planned: PlannedRun) -> None:
        planned.tally["artifacts"] += 1
        async with aclosing(self._source.entries(artifact)) as entries:
            counted = self._counted(entries, "artifact_files", planned.tally)
            await (planned.rehearsal.artifact(artifact, counted) if planned.rehearsal else _exhaust(counted))

    async def _counted(
        self, blobs: AsyncGenerator[BlobT], name: str, tally: Counter[str]
    ) -> AsyncGenerator[BlobT]:
        """The same, each counted as it goes by."""
        async for blob in blobs:
            self._count(blob, name, tally)
            yield blob

    def _count(self, blob: Blob, name: str, tally: Counter[str]) -> None:
        if isinstance(blob, ArtifactEntry) and blob.ref is not None:
            tally["references"] += 1
            return
        tally.update({name: 1, "bytes": blob.size or 0, DOWNLOADS: int(blob.local_path is None)})
        if blob.size and (self.largest is None or blob.size > self.largest[0]):
            self.largest = blob.size, blob.path

    def _settle(self, planned: PlannedRun) -> None:
        if planned.rehearsal is not None:
            for endpoint, count in planned.rehearsal.requests.items():
                planned.tally[DESTINATION + endpoint] += count - planned.listed[endpoint]
            heapq.heappush(self._spools, planned.rehearsal.spool)
            if len(self._spools) > self._options.open_runs:
                heapq.heappop(self._spools)
        self.tallies.add(planned.tally)


async def _exhaust(blobs: AsyncGenerator[BlobT]) -> None:
    async for _ in blobs:
        continue
