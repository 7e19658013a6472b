"""Histories are counted without being read, by whatever each kind of store has for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import CommError
from engine.mlflow.sql import sizes
from engine.mlflow.store import LatestMetric, Listed
from engine.records import HistorySize, Selection
from tests.mlflow.conftest import ServedWorld
from tests.mlflow.reading import labelled, opened, points_of, runs_of
from tests.postgresql import running_postgresql
from tests.stores import (
    BEGAN,
    Sql,
    Store,
    copied_to_postgresql,
    curve,
    file_store,
    ordinary_store,
    sqlite_store,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = ordinary_store(sqlite_store(tmp_path_factory.mktemp("sizes")))
    sql = Sql(store)
    experiment = sql.experiment("odd")
    sql.run(
        experiment, "repeated", points=[*curve(7), ("loss", 3, BEGAN + 9, 1.0), ("loss", 3, BEGAN + 10, 2.0)]
    )
    sql.run(experiment, "far", points=[("loss", -5, BEGAN, 1.0), ("loss", 2**60, BEGAN, float("nan"))])
    return store


@pytest.fixture(scope="module")
def uri(
    sqlite: Store, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if request.param == "sqlite":
        yield sqlite.uri
    else:
        with running_postgresql(tmp_path_factory.mktemp("postgresql")) as database:
            copied_to_postgresql(sqlite, database.replace("postgresql:", "postgresql+psycopg:"))
            yield database


@pytest.mark.parametrize("uri", ["sqlite", "postgresql"], indirect=True)
async def test_a_database_counts_what_reading_would_find(uri: str):
    async with opened(uri) as source:
        runs = await runs_of(source)
        found = await source.history_sizes(runs)
        for run in runs:
            points = await points_of(source, run)
            assert (run.id in found) == bool(points)
            if points:
                assert found[run.id] == _size(points)


def _size(points: list[tuple[str, int, int, float]]) -> HistorySize:
    places = {(key, step) for key, step, _, _ in points}
    steps = [step for _, step, _, _ in points]
    return HistorySize(
        points=len(points),
        rows=max(Counter(key for key, _ in places).values()),
        keys=tuple(sorted({key for key, _ in places})),
        repeated=len(points) - len(places),
        lowest_step=min(steps),
        highest_step=max(steps),
    )


async def test_the_lines_of_a_file_store_are_its_points(tmp_path: Path):
    store = ordinary_store(file_store(tmp_path))
    # A last line without its end, as a writer leaves it that was killed.
    metric = next(tmp_path.rglob(f"{store.runs['sweep']}/metrics/loss"))
    metric.write_bytes(metric.read_bytes().rstrip(b"\n"))

    async with opened(store.uri) as source:
        runs = await runs_of(source)
        found = await source.history_sizes(runs)
        for run in runs:
            points = await points_of(source, run)
            assert (found[run.id].points if run.id in found else 0) == len(points)
            assert found.get(run.id, HistorySize(points=0)).exact


async def test_a_server_is_not_asked_and_its_estimate_is_called_one(served_world: ServedWorld):
    async with opened(served_world.server.url) as source:
        runs = await labelled(source, Selection(projects=("short histories", "odd histories")))
        assert runs
        before = source._context.counters.requests

        found = await source.history_sizes(list(runs.values()))

        assert source._context.counters.requests == before
        for run in runs.values():
            metrics = run.summary or {}
            assert (found[run.id].exact, set(found[run.id].keys)) == (False, set(metrics))
            assert found[run.id].points >= len(metrics)
            assert 0 <= found[run.id].requests <= max(1, found[run.id].points)


def test_one_statement_counts_as_many_runs_as_have_not_too_many_metrics(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sizes, "COUNTED_RUNS", 3)
    monkeypatch.setattr(sizes, "COUNTED_SERIES", 10)
    metrics = [1, 1, 1, 1, 9, 2, 40, 1]
    runs = [
        Listed("1", f"r{n}", {f"k{key}": LatestMetric(0.0, 0, 0) for key in range(count)})
        for n, count in enumerate(metrics)
    ]

    portions = list(sizes.portions(runs))

    assert portions == [["r0", "r1", "r2"], ["r3", "r4"], ["r5"], ["r6"], ["r7"]]


async def test_a_history_that_cannot_be_counted_is_an_error_of_the_source(tmp_path: Path):
    store = sqlite_store(tmp_path)
    sql = Sql(store)
    sql.run(sql.experiment("bad"), "broken", points=[("loss", 1, BEGAN, 1.0)])
    with sql._writing() as database:
        database.execute("UPDATE metrics SET step = 'not a number'")

    async with opened(store.uri) as source:
        with pytest.raises(CommError):
            await source.history_sizes(await runs_of(source))
