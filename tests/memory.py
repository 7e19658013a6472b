"""A source and a destination in memory, the smallest that pass the conformance kit.

They stand in where a test is about the kernel; ``faults`` makes single calls fail.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio
import pyarrow as pa

from engine.errors import ConfigError
from engine.fingerprints import fingerprint
from engine.protocols import Reader, Unreadable
from engine.records import (
    Artifact,
    ArtifactEntry,
    Blob,
    HistoryChunk,
    HistoryRows,
    Json,
    MetricPoints,
    Namespace,
    Project,
    Receipt,
    Run,
    RunFile,
    Selection,
    SystemInfo,
)
from engine.transfer.context import Context

Point = tuple[str, int, int, float]
"""key, step, timestamp in ms, value"""


def points(values: Iterable[Point]) -> MetricPoints:
    keys, steps, timestamps, numbers = zip(*values, strict=True)
    return MetricPoints(
        batch=pa.RecordBatch.from_arrays(
            [
                pa.array(keys, pa.string()).dictionary_encode(),
                pa.array(steps, pa.int64()),
                pa.array(timestamps, pa.int64()),
                pa.array(numbers, pa.float64()),
            ],
            names=["key", "step", "timestamp", "value"],
        )
    )


@dataclass
class MemoryRun:
    run: Run
    history: list[Point] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    artifacts: dict[str, dict[str, bytes]] = field(default_factory=dict)


@dataclass
class MemorySource:
    """Projects by name, each with its runs; a fault is raised where its subject is read."""

    contents: dict[str, list[MemoryRun]]
    faults: dict[str, Exception] = field(default_factory=dict)
    uri: str = "memory:source"
    reads: int = 0

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        self._context = context
        self._fail("open")
        yield SystemInfo(uri=self.uri, product="memory")

    async def projects(self, selection: Selection) -> AsyncGenerator[Project]:
        for name in selection.projects:
            if name not in self.contents:
                raise ConfigError(f"no project {name!r}")
        for name in selection.projects or self.contents:
            yield Project(namespace=Namespace("", name), id=name)

    async def runs(self, project: Project, selection: Selection) -> AsyncGenerator[Run | Unreadable]:
        self._fail(f"runs:{project.id}")
        for held in self.contents[project.id]:
            if selection.since is not None and (held.run.started_at or 0) < selection.since:
                continue
            if not selection.takes(held.run):
                continue
            error = self.faults.get(f"run:{held.run.id}")
            yield (
                Unreadable(held.run.id, error)
                if error
                else replace(held.run, fingerprint=fingerprint(held.run, held.history))
            )

    async def history(self, run: Run) -> AsyncGenerator[HistoryChunk]:
        self._fail(f"history:{run.id}")
        if history := self._held(run).history:
            yield points(history)

    async def files(self, run: Run) -> AsyncGenerator[RunFile]:
        for path, content in self._held(run).files.items():
            yield RunFile(path=path, size=len(content), locator=f"{run.id}\n\n{path}")

    async def artifacts(self, run: Run) -> AsyncGenerator[Artifact]:
        self._fail(f"artifacts:{run.id}")
        for name in self._held(run).artifacts:
            yield Artifact(namespace=run.namespace, name=name, type="dataset", run_id=run.id, locator=run.id)

    async def entries(self, artifact: Artifact) -> AsyncGenerator[ArtifactEntry]:
        held = next(h for runs in self.contents.values() for h in runs if h.run.id == artifact.locator)
        for path, content in held.artifacts[artifact.name].items():
            yield ArtifactEntry(
                path=path, size=len(content), locator=f"{artifact.locator}\n{artifact.name}\n{path}"
            )

    async def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        self._fail(f"read:{blob.path}")
        run_id, artifact, path = blob.locator.split("\n", 2)
        held = next(h for runs in self.contents.values() for h in runs if h.run.id == run_id)
        content = (held.artifacts[artifact] if artifact else held.files)[path]
        for start in range(offset, len(content), 1 << 16):
            self.reads += 1
            yield content[start : start + (1 << 16)]

    def _held(self, run: Run) -> MemoryRun:
        return next(h for h in self.contents[run.namespace.project] if h.run.id == run.id)

    def _fail(self, subject: str) -> None:
        if subject in self.faults:
            raise self.faults[subject]


@dataclass
class Written:
    """What a destination holds of one run."""

    run: Run
    namespace: Namespace
    history: list[Point] = field(default_factory=list)
    rows: dict[int, Mapping[str, object]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    artifacts: dict[str, dict[str, bytes]] = field(default_factory=dict)
    finished: bool | None = None


@dataclass
class MemoryDestination:
    """Keeps what it is given, by run id."""

    faults: dict[str, Exception] = field(default_factory=dict)
    uri: str = "memory:destination"
    written: dict[str, Written] = field(default_factory=dict)
    open_now: int = 0
    open_peak: int = 0
    before: Callable[[str], object] = lambda _: None
    gate: anyio.Event | None = None

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        self._context = context
        yield SystemInfo(uri=self.uri, product="memory")

    async def prepare(self, projects: Sequence[Project]) -> Mapping[Namespace, Namespace]:
        return {
            p.namespace: Namespace("me", self._context.remap.get(p.namespace.project, p.namespace.project))
            for p in projects
        }

    async def open_run(self, run: Run, namespace: Namespace) -> MemoryWriter:
        self.act(f"open:{run.id}")
        self.open_now += 1
        self.open_peak = max(self.open_peak, self.open_now)
        held = self.written.setdefault(run.id, Written(run, namespace))
        held.run, held.namespace = run, namespace
        return MemoryWriter(self, held, self._context)

    def act(self, subject: str) -> None:
        self.before(subject)
        if subject in self.faults:
            raise self.faults[subject]


@dataclass
class MemoryWriter:
    destination: MemoryDestination
    held: Written
    context: Context

    def resume(self, part: str, note: Json) -> None:
        self.destination.act(f"resume {part}:{self.held.run.id}")
        assert note == {"of": part}

    async def write_history(self, chunks: AsyncIterator[HistoryChunk]) -> Receipt:
        if self.destination.gate is not None:
            await self.destination.gate.wait()
        self.destination.act(f"history:{self.held.run.id}")
        history: list[Point] = []
        async for chunk in chunks:
            if isinstance(chunk, HistoryRows):
                self.held.rows.update({chunk.first + n: row for n, row in enumerate(chunk.rows)})
            else:
                columns = (column.to_pylist() for column in chunk.batch.columns)
                history.extend(zip(*columns, strict=True))
        self.held.history = history
        self.context.counters.points += len(history)
        return Receipt(points=len(history), note={"of": "history"})

    async def write_files(self, files: AsyncIterator[RunFile], read: Reader) -> Receipt:
        self.destination.act(f"files:{self.held.run.id}")
        self.held.files = {file.path: await _whole(read, file) async for file in files}
        return replace(self._received(self.held.files), note={"of": "files"})

    async def write_artifact(
        self, artifact: Artifact, entries: AsyncIterator[ArtifactEntry], read: Reader
    ) -> Receipt:
        self.destination.act(f"artifact:{artifact.name}")
        content = {entry.path: await _whole(read, entry) async for entry in entries}
        self.held.artifacts[artifact.name] = content
        return self._received(content)

    async def finish(self, *, complete: bool = True) -> Receipt:
        self.destination.open_now -= 1
        self.destination.act(f"finish:{self.held.run.id}")
        self.held.finished = complete
        return Receipt()

    def _received(self, content: dict[str, bytes]) -> Receipt:
        moved = sum(map(len, content.values()))
        self.context.counters.files += len(content)
        self.context.counters.bytes += moved
        return Receipt(files=len(content), bytes=moved)


async def _whole(read: Reader, blob: Blob) -> bytes:
    async with aclosing(read(blob)) as pieces:
        return b"".join([piece async for piece in pieces])
