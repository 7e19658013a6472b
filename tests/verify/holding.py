"""A source, or a destination that keeps everything as it is, of records that a test writes down."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from engine.protocols import Unreadable
from engine.records import (
    Artifact,
    ArtifactEntry,
    Blob,
    HistoryChunk,
    HistoryRows,
    Json,
    Namespace,
    Project,
    Run,
    RunFile,
    Selection,
    SystemInfo,
)
from engine.transfer.context import Context
from engine.verify.audit import AsIs
from tests.memory import Point, points

PLACE = Namespace("me", "project")


@dataclass
class Version:
    """One artifact version with its entries; bytes are the content of a file, a text is a reference."""

    artifact: Artifact
    entries: dict[str, bytes | str] = field(default_factory=dict)


@dataclass
class Held:
    """A run and all that belongs to it; a history is points, or rows."""

    run: Run
    points: list[Point] = field(default_factory=list)
    rows: list[Mapping[str, Json]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    versions: list[Version] = field(default_factory=list)


def held(run_id: str = "r", **facts: Json) -> Held:
    return Held(Run(id=run_id, namespace=PLACE, **facts))


def version(name: str, number: int | None = None, **facts: Json) -> Version:
    return Version(Artifact(namespace=PLACE, name=name, type="dataset", version=number, **facts))


@dataclass
class Holding:
    """Some runs of one project; ``audit`` makes it a destination that can be verified."""

    runs_held: Sequence[Held]
    uri: str = "held:here"
    faults: dict[str, Exception] = field(default_factory=dict)

    def audit(self) -> AsIs:
        return AsIs(self)

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        yield SystemInfo(uri=self.uri, product="held")

    async def projects(self, selection: Selection) -> AsyncGenerator[Project]:
        yield Project(namespace=PLACE, id="1")

    async def runs(self, project: Project, selection: Selection) -> AsyncGenerator[Run | Unreadable]:
        for one in self.runs_held:
            yield one.run

    async def history(self, run: Run) -> AsyncGenerator[HistoryChunk]:
        if f"history:{run.id}" in self.faults:
            raise self.faults[f"history:{run.id}"]
        one = self._of(run)
        if one.points:
            yield points(one.points)
        if one.rows:
            yield HistoryRows(first=0, rows=one.rows)

    async def files(self, run: Run) -> AsyncGenerator[RunFile]:
        for path, content in self._of(run).files.items():
            yield RunFile(path=path, size=len(content), locator=f"{run.id}//{path}")

    async def artifacts(self, run: Run) -> AsyncGenerator[Artifact]:
        for place, one in enumerate(self._of(run).versions):
            yield replace(one.artifact, run_id=run.id, locator=f"{run.id}/{place}")

    async def entries(self, artifact: Artifact) -> AsyncGenerator[ArtifactEntry]:
        run_id, place = artifact.locator.split("/")
        one = next(one for one in self.runs_held if one.run.id == run_id)
        for path, content in one.versions[int(place)].entries.items():
            if isinstance(content, str):
                yield ArtifactEntry(path=path, ref=content, digest=content)
            else:
                yield ArtifactEntry(path=path, size=len(content), locator=f"{run_id}/{place}/{path}")

    async def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        run_id, place, path = blob.locator.split("/", 2)
        one = next(one for one in self.runs_held if one.run.id == run_id)
        content = one.versions[int(place)].entries[path] if place else one.files[path]
        assert isinstance(content, bytes)
        yield content[offset:]

    def _of(self, run: Run) -> Held:
        return next(one for one in self.runs_held if one.run.id == run.id)
