"""What every ``Source`` and every ``Destination`` must do; subclass, supply the fixture, and run.

class TestMySource(SourceConformance):
    @pytest.fixture
    async def source(self): return MySource(...)       # filled, see ``filled`` below
"""

from __future__ import annotations

import base64
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from engine.errors import ConfigError
from engine.protocols import Destination, Source, Unreadable
from engine.records import (
    Artifact,
    ArtifactEntry,
    Blob,
    HistoryChunk,
    HistoryRows,
    MetricPoints,
    Namespace,
    Project,
    Run,
    RunFile,
    RunState,
    Selection,
    SystemInfo,
)
from engine.transfer.context import Context
from tests.memory import Point, points

EVERYTHING = Selection()


@pytest.fixture
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return Context(spool=tmp_path_factory.mktemp("spool"))


async def read_history(source: Source, run: Run) -> list[tuple[Any, ...]]:
    """A history in a form that can be compared: points, or rows."""
    result: list[tuple[Any, ...]] = []
    async for chunk in source.history(run):
        if isinstance(chunk, MetricPoints):
            result.extend(zip(*(column.to_pylist() for column in chunk.batch.columns), strict=True))
        else:
            result.extend((chunk.first + n, repr(sorted(row.items()))) for n, row in enumerate(chunk.rows))
    return result


async def read_blob(source: Source, blob: Blob, offset: int = 0) -> bytes:
    async with aclosing(source.read(blob, offset)) as pieces:
        content = b""
        async for piece in pieces:
            assert len(piece) <= 1024 * 1024
            content += piece
        return content


class SourceConformance:
    """The fixture ``source`` yields a source with at least two projects, two runs in one of them, a history,
    and an artifact with a file of more than a few bytes and an empty file."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    async def opened(self, source: Source, context: Context) -> AsyncGenerator[Source]:
        async with source.open(context) as info:
            assert isinstance(info, SystemInfo)
            yield source

    async def all_runs(self, source: Source) -> list[Run]:
        found: list[Run] = []
        async for project in source.projects(EVERYTHING):
            async for run in source.runs(project, EVERYTHING):
                assert not isinstance(run, Unreadable)
                assert run.namespace == project.namespace
                found.append(run)
        return found

    async def test_projects_are_listed_once_and_can_be_named(self, opened: Source):
        projects = [project async for project in opened.projects(EVERYTHING)]
        assert len(projects) >= 2
        assert len({project.namespace for project in projects}) == len(projects)
        for project in projects:
            for name in (project.namespace.project, project.id):
                named = [p async for p in opened.projects(Selection(projects=(name,)))]
                assert named == [project]

    async def test_an_unknown_project_is_a_config_error_that_names_it(self, opened: Source):
        with pytest.raises(ConfigError, match="no-such-project"):
            async for _ in opened.projects(Selection(projects=("no-such-project",))):
                pass

    async def test_runs_are_listed_once_and_the_same_each_time(self, opened: Source):
        runs = await self.all_runs(opened)
        assert len(runs) >= 2
        assert len({run.id for run in runs}) == len(runs)
        assert await self.all_runs(opened) == runs

    async def test_times_are_milliseconds(self, opened: Source):
        for run in await self.all_runs(opened):
            assert isinstance(run.state, RunState)
            for moment in (run.started_at, run.ended_at):
                assert moment is None or isinstance(moment, int)

    async def test_since_leaves_out_older_runs(self, opened: Source):
        runs = await self.all_runs(opened)
        latest = max(run.started_at or 0 for run in runs)
        kept = [
            run
            async for project in opened.projects(EVERYTHING)
            async for run in opened.runs(project, Selection(since=latest))
        ]
        assert [run for run in runs if (run.started_at or 0) >= latest] == kept

    async def test_a_history_comes_in_bounded_chunks_of_the_declared_form(self, opened: Source):
        seen = 0
        for run in await self.all_runs(opened):
            async for chunk in opened.history(run):
                if isinstance(chunk, HistoryRows):
                    assert 0 < len(chunk.rows) <= HistoryRows.CHUNK_ROWS
                    seen += len(chunk.rows)
                    continue
                batch = chunk.batch
                assert 0 < batch.num_rows <= MetricPoints.CHUNK_POINTS
                assert batch.schema.names == ["key", "step", "timestamp", "value"]
                assert batch.schema.field("key").type == pa.dictionary(pa.int32(), pa.string())
                assert [batch.schema.field(n).type for n in ("step", "timestamp", "value")] == [
                    pa.int64(),
                    pa.int64(),
                    pa.float64(),
                ]
                assert all(column.null_count == 0 for column in batch.columns)
                seen += batch.num_rows
        assert seen

    async def test_a_history_is_the_same_each_time(self, opened: Source):
        for run in await self.all_runs(opened):
            first = await read_history(opened, run)
            second = await read_history(opened, run)
            assert repr(sorted(first, key=repr)) == repr(sorted(second, key=repr))

    async def test_a_generator_may_be_closed_early(self, opened: Source):
        for run in await self.all_runs(opened):
            async with aclosing(opened.history(run)) as history:
                async for _ in history:
                    break
            async with aclosing(opened.artifacts(run)) as artifacts:
                async for _ in artifacts:
                    break
        assert await self.all_runs(opened)

    async def test_entries_have_the_size_and_digest_they_announce(self, opened: Source):
        sizes = []
        for run in await self.all_runs(opened):
            async for artifact in opened.artifacts(run):
                paths = set()
                async for entry in opened.entries(artifact):
                    assert entry.path not in paths
                    paths.add(entry.path)
                    if entry.ref is not None:
                        continue
                    content = await read_blob(opened, entry)
                    sizes.append(len(content))
                    assert entry.size in (None, len(content))
                    if entry.md5 is not None:
                        assert entry.md5 == base64.b64encode(hashlib.md5(content).digest()).decode()
                    if content:
                        half = len(content) // 2
                        assert await read_blob(opened, entry, half) == content[half:]
        assert 0 in sizes, "the fixture has an empty file"
        assert any(size > 3 for size in sizes)


class DestinationConformance(ABC):
    """The fixture ``destination`` yields an empty one; ``snapshot`` reads back what it holds, comparably."""

    pytestmark = pytest.mark.anyio

    PROJECT = Project(namespace=Namespace("", "vision"), id="1")
    ARTIFACT = Artifact(namespace=Namespace("", "vision"), name="weights", type="model", run_id="run0001")

    @abstractmethod
    async def snapshot(self, destination: Destination) -> Any:
        """Everything the destination holds that does not depend on the time of writing."""

    @asynccontextmanager
    async def opened(self, destination: Destination, context: Context) -> AsyncGenerator[Namespace]:
        async with destination.open(context):
            yield (await destination.prepare([self.PROJECT]))[self.PROJECT.namespace]

    def run(self, **changes: Any) -> Run:
        fields: dict[str, Any] = {
            "id": "run0001",
            "namespace": self.PROJECT.namespace,
            "name": "first",
            "config": {"lr": "0.1"},
            "notes": "note",
            "started_at": 1_700_000_000_000,
            "ended_at": 1_700_000_060_000,
        }
        return Run(**{**fields, **changes})

    async def write(
        self,
        destination: Destination,
        namespace: Namespace,
        run: Run,
        history: list[Point],
        contents: dict[str, bytes],
    ) -> None:
        writer = await destination.open_run(run, namespace)

        async def chunks() -> AsyncIterator[HistoryChunk]:
            if history:
                yield points(history)

        async def files() -> AsyncIterator[RunFile]:
            for path, content in contents.items():
                yield RunFile(path=path, size=len(content))

        async def entries() -> AsyncIterator[ArtifactEntry]:
            for path, content in contents.items():
                yield ArtifactEntry(path=path, size=len(content))

        async def read(blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
            yield contents[blob.path][offset:]

        received = await writer.write_history(chunks())
        assert received.points == len(history)
        await writer.write_files(files(), read)
        await writer.write_artifact(self.ARTIFACT, entries(), read)
        await writer.finish()

    HISTORY: list[Point] = [  # noqa: RUF012
        ("loss", 0, 1_700_000_001_000, 1.0),
        ("loss", 1, 1_700_000_002_000, math.nan),
        ("acc", 1, 1_700_000_002_000, math.inf),
        ("loss", 2, 1_700_000_003_000, 0.25),
    ]
    CONTENTS = {"a.txt": b"hello", "empty": b"", "deep/ünïcode name.bin": bytes(range(256)) * 300}  # noqa: RUF012

    async def test_prepare_names_a_namespace_for_each_project(
        self, destination: Destination, context: Context
    ):
        other = Project(namespace=Namespace("", "text"), id="2")
        async with destination.open(context):
            targets = await destination.prepare([self.PROJECT, other])
        assert set(targets) == {self.PROJECT.namespace, other.namespace}

    async def test_writing_twice_leaves_what_writing_once_does(
        self, destination: Destination, context: Context
    ):
        async with self.opened(destination, context) as namespace:
            await self.write(destination, namespace, self.run(), self.HISTORY, self.CONTENTS)
            once = await self.snapshot(destination)
            await self.write(destination, namespace, self.run(), self.HISTORY, self.CONTENTS)
            assert await self.snapshot(destination) == once
        assert once

    async def test_a_run_that_was_left_in_the_middle_is_completed(
        self, destination: Destination, context: Context
    ):
        async with self.opened(destination, context) as namespace:
            writer = await destination.open_run(self.run(), namespace)

            async def half() -> AsyncIterator[HistoryChunk]:
                yield points(self.HISTORY[:2])

            await writer.write_history(half())
            await self.write(destination, namespace, self.run(), self.HISTORY, self.CONTENTS)
            resumed = await self.snapshot(destination)
            await self.write(destination, namespace, self.run(), self.HISTORY, self.CONTENTS)
            assert await self.snapshot(destination) == resumed

    async def test_a_run_may_be_empty(self, destination: Destination, context: Context):
        async with self.opened(destination, context) as namespace:
            empty = self.run(id="bare", name=None, notes=None, config={}, started_at=None, ended_at=None)
            await self.write(destination, namespace, empty, [], {})
            assert await self.snapshot(destination)

    async def test_every_state_of_a_run_is_accepted(self, destination: Destination, context: Context):
        async with self.opened(destination, context) as namespace:
            for state in RunState:
                writer = await destination.open_run(self.run(id=f"run{state}", state=state), namespace)
                await writer.finish()

    async def test_progress_counts_what_was_acknowledged(self, destination: Destination, context: Context):
        async with self.opened(destination, context) as namespace:
            await self.write(destination, namespace, self.run(), self.HISTORY, self.CONTENTS)
        assert context.counters.points == len(self.HISTORY)
        assert context.counters.bytes >= sum(map(len, self.CONTENTS.values()))

    async def test_the_spool_is_left_empty(self, destination: Destination, context: Context):
        async with self.opened(destination, context) as namespace:
            await self.write(destination, namespace, self.run(), self.HISTORY, self.CONTENTS)
        assert not [path for path in Path(context.spool).rglob("*") if path.is_file()]
