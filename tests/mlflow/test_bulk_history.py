"""Histories of a tracking server arrive whole, in few requests and bounded memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from engine.errors import IntegrityError
from engine.mlflow.history_requests import BULK_PATH, HISTORY_PATH, PAGE_POINTS, BulkAnswer, bulk
from engine.mlflow.rest import RestStore, open_rest_store
from engine.mlflow.rest_api import TrackingApi
from engine.mlflow.store import LatestMetric, RawExperiment, RawRun
from engine.protocols import SystemOptions
from engine.records import MetricPoints
from engine.transfer.context import Context
from tests.mlflow.conftest import ServedWorld
from tests.mlflow.local import in_front_of, serving
from tests.mlflow.rest_world import CROWDED, LONG, SHORT_RUNS, experiments_of, points_of

pytestmark = pytest.mark.anyio

Row = tuple[str, int, int, str]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(spool=tmp_path)


@pytest.fixture
def short(served_world: ServedWorld) -> RawExperiment:
    return experiments_of(served_world.store)["short histories"]


@pytest.fixture
def odd(served_world: ServedWorld) -> RawExperiment:
    return experiments_of(served_world.store)["odd histories"]


@pytest.fixture
async def store(served_world: ServedWorld, context: Context) -> AsyncIterator[RestStore]:
    store = open_rest_store(served_world.server.url, SystemOptions())
    assert isinstance(store, RestStore)
    async with store.open(context):
        yield store


async def runs_of(store: RestStore, experiment: RawExperiment) -> list[RawRun]:
    return [run async for run in store.runs(experiment) if isinstance(run, RawRun)]


async def history(store: RestStore, run: RawRun) -> Counter[Row]:
    found: Counter[Row] = Counter()
    async for chunk in store.history(run.experiment_id, run.id, run.latest):
        assert chunk.batch.num_rows <= MetricPoints.CHUNK_POINTS
        found.update(rows(zip(*(column.to_pylist() for column in chunk.batch.columns), strict=True)))
    return found


def rows(points: object) -> list[Row]:
    """Points that can be compared: every float64 by its exact digits, NaN equal to NaN."""
    return [(key, step, at, "nan" if math.isnan(v) else v.hex()) for key, step, at, v in points]  # type: ignore[attr-defined]


async def test_every_point_of_many_short_histories_arrives_in_few_requests(
    store: RestStore, served_world: ServedWorld, context: Context, short: RawExperiment
) -> None:
    runs = await runs_of(store, short)
    before = context.counters.requests
    for run in runs:
        assert await history(store, run) == Counter(rows(points_of(served_world.store, run.tags["label"]))), (
            run.name
        )
    assert len(runs) == SHORT_RUNS
    assert context.counters.requests - before <= 12, "160 histories"


async def test_runs_that_are_read_at_the_same_time_share_requests(
    store: RestStore, served_world: ServedWorld, context: Context, short: RawExperiment
) -> None:
    runs = await runs_of(store, short)
    before = context.counters.requests
    found: dict[str, Counter[Row]] = {}

    async def read(run: RawRun) -> None:
        found[run.tags["label"]] = await history(store, run)

    async with anyio.create_task_group() as tasks:
        for run in runs:
            tasks.start_soon(read, run)
    assert all(Counter(rows(points_of(served_world.store, label))) == got for label, got in found.items())
    assert context.counters.requests - before <= 30


@pytest.mark.parametrize("label", ["odd-values", "odd-duplicates", "odd-none", "odd-names"])
async def test_an_odd_history_arrives_exactly(
    store: RestStore, served_world: ServedWorld, label: str, odd: RawExperiment
) -> None:
    (run,) = (run for run in await runs_of(store, odd) if run.tags["label"] == label)
    assert await history(store, run) == Counter(rows(points_of(served_world.store, label)))


async def test_answers_that_were_cut_without_a_sign_are_completed(
    store: RestStore, served_world: ServedWorld
) -> None:
    """Seven runs of 9,000 points at step 0 look like seven points, and fill an answer two and a half times.

    After them comes one run that fills an answer alone.
    """
    runs = await runs_of(store, experiments_of(served_world.store)["large histories"])
    for run in runs[:-1]:
        found = await history(store, run)
        assert found.total() == (30_000 if run.tags["label"] == "surprise" else CROWDED)
        assert found == Counter(rows(points_of(served_world.store, run.tags["label"])))


async def test_infinities_that_the_store_clipped_are_restored_and_declared(
    store: RestStore, context: Context, odd: RawExperiment
) -> None:
    (run,) = (run for run in await runs_of(store, odd) if run.tags["label"] == "odd-values")
    await history(store, run)
    assert context.losses.counts["inf_from_dbl_max"] == 2


async def test_a_long_history_streams_page_by_page(store: RestStore, served_world: ServedWorld) -> None:
    *_, run = await runs_of(store, experiments_of(served_world.store)["large histories"])
    sizes, found = [], Counter[Row]()
    async for chunk in store.history(run.experiment_id, run.id, run.latest):
        sizes.append(chunk.batch.num_rows)
        found.update(rows(zip(*(column.to_pylist() for column in chunk.batch.columns), strict=True)))
    assert found == Counter(rows(points_of(served_world.store, "long")))
    assert found.total() == LONG + 1
    assert max(sizes) <= PAGE_POINTS


async def test_a_history_that_the_server_withholds_is_an_error_and_no_empty_series(
    store: RestStore, served_world: ServedWorld, odd: RawExperiment
) -> None:
    (run,) = (run for run in await runs_of(store, odd) if run.tags["label"] == "odd-withheld")
    with pytest.raises(IntegrityError, match="none of its points") as failure:
        await history(store, run)
    assert run.id in str(failure.value)


async def test_without_the_bulk_request_everything_arrives_by_pages(
    served_world: ServedWorld, context: Context, short: RawExperiment
) -> None:
    """As behind a gateway that only knows the documented API."""

    def only_documented(request: web.Request) -> web.Response | None:
        if request.path == f"/{BULK_PATH}":
            return web.Response(status=404, text="<title>no route</title>", content_type="text/html")
        return None

    async with in_front_of(served_world.server.url, only_documented) as url:
        store = open_rest_store(url, SystemOptions())
        assert isinstance(store, RestStore)
        async with store.open(context):
            for run in (await runs_of(store, short))[:9]:
                assert await history(store, run) == Counter(
                    rows(points_of(served_world.store, run.tags["label"]))
                )


async def test_pages_that_make_no_progress_end_in_an_error(context: Context) -> None:
    """As servers from 3.2 to 3.13 answer under some conditions: a token, and no points, for ever."""

    async def endless(request: web.Request) -> web.Response:
        if request.path == "/version":
            return web.Response(text="3.8.1")
        if request.path.endswith(HISTORY_PATH):
            return web.json_response({"next_page_token": "eyJvZmZzZXQiOiAwfQ=="})
        return web.json_response({})

    async with serving(endless) as url:
        store = open_rest_store(url, SystemOptions())
        async with store.open(context):
            reading = store.history("1", "r" * 32, {"m": LatestMetric(1.0, 1, 30_000)})
            with pytest.raises(IntegrityError, match="no progress"):
                [chunk async for chunk in reading]


async def test_runs_that_are_skipped_cost_no_look_ahead_for_long(
    store: RestStore, short: RawExperiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An incremental transfer asks for one run here and there; it must not read all others on the way."""
    runs = await runs_of(store, short)
    received: list[int] = []

    async def counting(api: TrackingApi, key: str, run_ids: Sequence[str]) -> BulkAnswer:
        answer = await bulk(api, key, run_ids)
        received.extend(len(points.steps) for points in answer.found.values() if points is not None)
        return answer

    monkeypatch.setattr("engine.mlflow.history_rest.bulk", counting)
    for run in runs[::12]:
        await history(store, run)
    everything = sum(range(SHORT_RUNS + 1)) + 300 * SHORT_RUNS // 3
    assert sum(received) < everything / 2


async def test_one_run_of_an_experiment_may_be_asked_for_without_listing(
    store: RestStore, served_world: ServedWorld
) -> None:
    run_id = served_world.store.runs["short-30"]
    latest = {"a": LatestMetric(0.0, 0, 30), "b/c d": LatestMetric(0.0, 0, 299)}
    found = [chunk.batch.num_rows async for chunk in store.history("1", run_id, latest)]
    assert sum(found) == 31 + 300
