"""What goes into an archive comes out of it: every record, value and type."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.archive import ArchiveDestination, ArchiveSource
from engine.archive.codec import plain, record_of
from engine.archive.layout import dumps
from engine.archive.points import PointWriter, read_points
from engine.archive.rows import RowWriter, read_rows
from engine.protocols import Measuring, SystemOptions, open_source
from engine.records import (
    Artifact,
    ArtifactEntry,
    Blob,
    Code,
    ConsoleLine,
    ConsoleLines,
    DatasetInput,
    HistoryChunk,
    HistoryRows,
    Json,
    Namespace,
    Project,
    Run,
    RunFile,
    RunState,
    Selection,
    SystemInfo,
)
from engine.transfer.context import Context
from engine.transfer.engine import Engine
from engine.transfer.options import Options
from tests.archive.reading import EVERYTHING, exact, told_of
from tests.hostile import hostile_store
from tests.memory import Point, points
from tests.stores import ordinary_store, sqlite_store

pytestmark = pytest.mark.anyio

HERE = Namespace("team", "a/b")

# Whatever JSON and Python's reading of it know: also NaN, integers of any length and lone surrogates.
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text()
    | st.text(st.characters(), max_size=3)
)
keys = st.text(st.characters(), max_size=4) | st.sampled_from(
    ["_run", "_exact", "_step", "loss", "Loss", "a.b"]
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(keys, values, max_size=5)
rows = st.lists(objects, max_size=12)
int64 = st.integers(-(2**63), 2**63 - 1)
metric_points = st.lists(
    st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), int64, int64, st.floats()),
    max_size=12,
)


@dataclass
class OneRun:
    """A source with one run that has everything, and logs besides."""

    run: Run
    rows: list[dict[str, Json]] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    metrics: list[dict[str, Json]] = field(default_factory=list)
    console_lines: list[ConsoleLine] = field(default_factory=list)
    kept: dict[str, bytes] = field(default_factory=dict)
    artifact: Artifact | None = None
    listed: list[ArtifactEntry] = field(default_factory=list)
    uri: str = "memory:one"

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        yield SystemInfo(uri=self.uri, product="memory")

    async def projects(self, selection: Selection) -> AsyncGenerator[Project]:
        yield Project(namespace=self.run.namespace, id="7", labels={"k": "v"}, created_at=5)

    async def runs(self, project: Project, selection: Selection) -> AsyncGenerator[Run]:
        yield self.run

    async def history(self, run: Run) -> AsyncGenerator[HistoryChunk]:
        if self.rows:
            yield HistoryRows(first=0, rows=self.rows)
        if self.points:
            yield points(self.points)

    async def system_metrics(self, run: Run) -> AsyncGenerator[HistoryRows]:
        if self.metrics:
            yield HistoryRows(first=0, rows=self.metrics)

    async def console(self, run: Run) -> AsyncGenerator[ConsoleLines]:
        if self.console_lines:
            yield ConsoleLines(lines=self.console_lines)

    async def files(self, run: Run) -> AsyncGenerator[RunFile]:
        for path, content in self.kept.items():
            yield RunFile(path=path, size=len(content), locator=path)

    async def artifacts(self, run: Run) -> AsyncGenerator[Artifact]:
        if self.artifact is not None:
            yield self.artifact

    async def entries(self, artifact: Artifact) -> AsyncGenerator[ArtifactEntry]:
        for entry in self.listed:
            yield entry

    async def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        content = self.kept[blob.locator]
        for start in range(offset, len(content), 1 << 20):
            yield content[start : start + (1 << 20)]


async def archived(source: Any, root: Path, **options: Any) -> ArchiveSource:
    async with Engine(source, ArchiveDestination(str(root)), Options(**options)) as engine:
        result = await engine.run()
    assert result.failure_count == 0, result.failures
    return ArchiveSource(str(root))


@settings(max_examples=80, deadline=None)
@given(history=rows)
def test_rows_of_any_json_come_back(history: list[Any]):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rows"
        with RowWriter(path, "r", Path(directory)) as writer:
            writer.add(history)
        found = [exact(row) for chunk in read_rows(path) for row in chunk.rows]
    assert found == [exact(row) for row in history]


@settings(max_examples=50, deadline=None)
@given(history=metric_points)
def test_points_of_any_bits_come_back_in_their_order(history: list[Point]):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "points"
        with PointWriter(path, "r") as writer:
            for start in range(0, len(history), 5):
                writer.add(points(history[start : start + 5]).batch)
        chunks = [chunk.batch.columns for chunk in read_points(path)]
    found = [point for columns in chunks for point in zip(*(c.to_pylist() for c in columns), strict=True)]
    assert exact(found) == exact(history)


@settings(max_examples=50, deadline=None)
@given(config=objects, summary=st.none() | objects, text=st.text(st.characters()))
def test_records_of_any_json_come_back(config: Any, summary: Any, text: str):
    run = Run(id=text, namespace=Namespace(text, text), config=config, summary=summary, extra={text: config})
    found = record_of(Run, json.loads(dumps(plain(run))))
    assert exact([found.id, found.config, found.summary, found.extra]) == exact(
        [text, config, summary, run.extra]
    )


def test_rows_that_do_not_fit_into_memory_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engine.archive.rows.WINDOW_ROWS", 10)
    history: list[Json] = [
        {"_step": n, "loss": n / 3, **({"late": "x"} if n > 90 else {})} for n in range(101)
    ]
    with RowWriter(tmp_path / "rows", "r", tmp_path) as writer:
        for start in range(0, len(history), 7):
            writer.add(history[start : start + 7])
    table = pq.read_table(tmp_path / "rows")
    assert table.column_names == ["_run", "_step", "loss", "late", "_exact"]
    assert [row for chunk in read_rows(tmp_path / "rows") for row in chunk.rows] == history


async def test_every_field_of_every_record_comes_back(tmp_path: Path):
    run = Run(
        id="../../etc/passwd",
        namespace=HERE,
        name="CON",
        state=RunState.PREEMPTED,
        source_state="odd",
        config={"lr": 0.1},
        summary={"n": math.nan},
        labels={"k": "v"},
        tags=("a", "b"),
        notes="\ud800 note",
        group="g",
        job_type="j",
        user="u",
        host="h",
        started_at=1,
        ended_at=2,
        heartbeat_at=3,
        exit_code=4,
        sweep="s",
        parent_id="p",
        deleted=True,
        code=Code(program="p", commit="c", branch="b", remote="r", entry_point="e"),
        inputs=(DatasetInput(name="d", digest="x", source_type="t", source="s", tags={"k": "v"}),),
        extra={"big": 2**80},
        url="https://x",
    )
    source = OneRun(
        run,
        rows=[{"_step": 0, "loss": 1}, {"_step": 1, "loss": 0.5, "image": {"_type": "image-file"}}],
        metrics=[{"system.cpu": 5.5}, {"system.cpu": 6}],
        console_lines=[ConsoleLine(text="hi"), ConsoleLine(text="", time="t", level="error", label="2")],
        kept={"../../evil": b"x" * 3_000_000, "C:\\con": b"", "a": b"A", "A": b"a"},
        artifact=Artifact(
            namespace=Namespace("other", "place"),
            name="model/../x",
            type="model",
            run_id="someone",
            version=3,
            aliases=("best",),
            tags=("t",),
            description="d",
            metadata={"m": math.inf},
            created_at=9,
            digest="dd",
            ttl_s=60,
        ),
        listed=[
            ArtifactEntry(path="../../evil", size=3_000_000, locator="../../evil"),
            ArtifactEntry(path="ref", ref="s3://b/k", digest="etag", extra={"etag": "e"}, size=7),
        ],
    )
    kept = await archived(source, tmp_path / "archive")
    context = Context(spool=tmp_path)
    assert exact(await told_of(kept, context)) == exact(await told_of(source, context))
    assert {path.name for path in tmp_path.iterdir()} == {"archive"}
    for path in (tmp_path / "archive").rglob("*"):
        name = path.relative_to(tmp_path).as_posix()
        assert name == name.encode("ascii").decode().lower(), name
        assert not set(name) & set('\\:*?"<>|'), name


@pytest.mark.parametrize("kind", ["ordinary", "hostile"])
async def test_a_real_mlflow_store_comes_back(tmp_path: Path, kind: str):
    """Of the hostile one without artifacts, some of which cannot be read at all."""
    if ordinary := kind == "ordinary":
        store = ordinary_store(sqlite_store(tmp_path / "store"))
    else:
        store = hostile_store(tmp_path / "store")
    roots = {"mlflow-artifacts:": str(store.served)}
    source = open_source(f"mlflow:{store.uri}", SystemOptions(artifact_roots=roots))
    kept = await archived(source, tmp_path / "archive", selection=EVERYTHING, artifacts=ordinary)
    context = Context(spool=tmp_path)
    direct = await told_of(source, context, artifacts=ordinary)
    assert len(direct) > 8
    assert exact(await told_of(kept, context, artifacts=ordinary)) == exact(direct)


async def test_lengths_of_histories_are_told_without_reading_them(tmp_path: Path):
    store = ordinary_store(sqlite_store(tmp_path / "store"))
    source = open_source(f"mlflow:{store.uri}")
    kept = await archived(source, tmp_path / "archive", artifacts=False)
    told = []
    for side in (source, kept):
        async with side.open(Context(spool=tmp_path)):
            runs = [
                run
                async for project in side.projects(Selection())
                async for run in side.runs(project, Selection())
            ]
            assert isinstance(side, Measuring)
            sizes = await side.history_sizes([run for run in runs if isinstance(run, Run)])
            told.append(
                {
                    run: (size.points, size.keys, size.lowest_step, size.highest_step)
                    for run, size in sizes.items()
                }
            )
    assert told[0] == told[1] != {}
