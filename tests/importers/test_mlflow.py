"""What W&B's own tests asked of its MLflow importer holds, and what its users did with it works."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient

from engine import Options
from engine.errors import ConfigError, NotFound
from engine.importers import ImportFailures, MlflowImporter, MlflowRun, Namespace
from engine.importers.mlflow import CollectedRuns
from engine.records import Run
from engine.transfer.events import Event
from engine.wandb.destination import WandbDestination
from engine.wandb.runs.writer import WandbRunWriter
from tests.e2e.wandb_pair import api_of
from tests.importers.conftest import EXPERIMENTS, FILES, LONG_TAG, METRICS, PARAMS, RUNS, STEPS, B, filled
from tests.servers import RunningSandbox
from tests.stores import Store, sqlite_store

ALL = EXPERIMENTS * RUNS


def importer_of(store: Store, target: RunningSandbox, **more: Any) -> MlflowImporter:
    return MlflowImporter(
        mlflow_tracking_uri=store.uri, dst_base_url=target.url, dst_api_key=target.api_key, **more
    )


def arrived(target: RunningSandbox, project: str) -> list[Any]:
    return list(api_of(target).runs(f"{B}/{project}"))


def by_hand(importer: MlflowImporter) -> list[MlflowRun]:
    client = MlflowClient(importer.mlflow_tracking_uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return [MlflowRun(run, client) for run in client.search_runs(ids)]


def one_by_one(importer: MlflowImporter) -> Iterator[MlflowRun]:
    yield from importer.collect_runs()


@pytest.mark.parametrize("backend", ["store", "old_store"])
@pytest.mark.parametrize("runs_of", [MlflowImporter.collect_runs, by_hand, one_by_one])
def test_every_run_arrives_whole(
    request: pytest.FixtureRequest,
    target: RunningSandbox,
    backend: str,
    runs_of: Callable[[MlflowImporter], Any],
) -> None:
    project, store = f"whole-{backend}-{runs_of.__name__}", request.getfixturevalue(backend)
    importer = importer_of(store, target)
    result = importer.import_runs(runs_of(importer), namespace=Namespace(B, project))
    assert (result.runs_done, result.ok) == (ALL, True)
    runs = arrived(target, project)
    assert len(runs) == ALL
    for run in runs:
        rows = list(run.scan_history())
        assert len(rows) == STEPS
        assert all({"_step", *METRICS} <= row.keys() for row in rows)
        assert {*PARAMS, "imported_mlflow_tags"} <= run.config.keys()
        assert run.config["imported_mlflow_tags"]["longTag"] == LONG_TAG
        (artifact,) = run.logged_artifacts()
        assert len(list(artifact.files())) == len(FILES) == 22


def test_without_a_namespace_an_experiment_becomes_a_project(store: Store, target: RunningSandbox) -> None:
    importer = importer_of(store, target)
    importer.import_runs(importer.collect_runs())
    for number in range(EXPERIMENTS):
        assert len(arrived(target, f"experiment {number}")) == RUNS


def test_artifacts_can_be_left_out(store: Store, target: RunningSandbox) -> None:
    importer, project = importer_of(store, target), "bare"
    importer.import_runs(importer.collect_runs(), artifacts=False, namespace=Namespace(B, project))
    assert [len(run.logged_artifacts()) for run in arrived(target, project)] == [0] * ALL


def test_a_second_import_finds_everything_there(store: Store, target: RunningSandbox) -> None:
    importer, where = importer_of(store, target), Namespace(B, "twice")
    runs = importer.collect_runs()
    assert importer.import_runs(runs, namespace=where).runs_done == ALL
    again = importer.import_runs(runs, namespace=where)
    assert (again.runs_skipped, again.points, again.files) == (ALL, 0, 0)
    # A selection of the same store is known by the same ledger.
    assert importer.import_runs(list(runs)[:1], namespace=where).runs_skipped == 1
    assert importer.import_runs(runs, namespace=where, incremental=False).runs_done == ALL


@pytest.mark.parametrize("limit", [1, ALL + 1])
def test_a_limit_counts_runs(store: Store, target: RunningSandbox, limit: int) -> None:
    importer, project = importer_of(store, target), f"limit-{limit}"
    collected = importer.collect_runs(limit=limit)
    assert len(list(collected)) == min(limit, ALL)
    assert importer.import_runs(collected, namespace=Namespace(B, project)).runs_done == min(limit, ALL)


@pytest.mark.parametrize("how", [{"parallel": False}, {"max_workers": 1}])
def test_workers_are_runs_at_a_time(
    store: Store, target: RunningSandbox, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_now = most = 0
    opening, finishing = WandbDestination.open_run, WandbRunWriter.finish

    async def open_run(self: Any, run: Run, namespace: Namespace) -> Any:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        return await opening(self, run, namespace)

    async def finish(self: Any, *, complete: bool = True) -> Any:
        nonlocal open_now
        open_now -= 1
        return await finishing(self, complete=complete)

    monkeypatch.setattr(WandbDestination, "open_run", open_run)
    monkeypatch.setattr(WandbRunWriter, "finish", finish)
    importer = importer_of(store, target, options=Options())
    where = Namespace(B, "workers")
    assert importer.import_runs(importer.collect_runs(), namespace=where, **how).runs_done == ALL
    assert most == 1


@pytest.mark.anyio
async def test_plain_calls_work_while_an_event_loop_runs(store: Store, target: RunningSandbox) -> None:
    importer = importer_of(store, target)
    result = importer.import_runs(importer.collect_runs(limit=1), namespace=Namespace(B, "loop"))
    assert result.runs_done == 1


@pytest.mark.anyio
async def test_the_twin_leaves_the_loop_to_others(store: Store, target: RunningSandbox) -> None:
    importer = importer_of(store, target, options=Options())
    where, beats = Namespace(B, "async"), 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        other = tasks.create_task(beat())
        result = await importer.import_runs_async(importer.collect_runs(limit=1), namespace=where)
        other.cancel()
    assert result.runs_done == 1
    assert beats > 10


VARIABLE: ContextVar[str] = ContextVar("variable")


def test_context_variables_are_those_of_the_caller(store: Store, target: RunningSandbox) -> None:
    seen: set[tuple[str, bool]] = set()

    def look(event: Event) -> None:
        seen.add((VARIABLE.get(), threading.current_thread() is threading.main_thread()))

    importer = importer_of(store, target, on_event=look)
    VARIABLE.set("the caller's")
    importer.import_runs(importer.collect_runs(limit=1), namespace=Namespace(B, "context"))
    assert seen == {("the caller's", False)}


def test_a_run_that_is_gone_is_a_failure_and_the_others_arrive(store: Store, target: RunningSandbox) -> None:
    importer, where = importer_of(store, target), Namespace(B, "gone")
    runs = by_hand(importer)
    client = runs[0].mlflow_client
    info = SimpleNamespace(run_id="f" * 32, experiment_id=runs[0].run.info.experiment_id)
    gone = MlflowRun(SimpleNamespace(info=info), client)
    with pytest.raises(ImportFailures, match="run ffff") as failures:
        importer.import_runs([*runs, gone], namespace=where)
    result = failures.value.result
    assert (result.runs_done, result.runs_failed, result.ok) == (ALL, 1, False)
    assert [failure.kind for failure in result.failures] == [NotFound.__name__]
    told = importer.import_runs([gone], namespace=where, raise_on_error=False)
    assert [failure.run for failure in told.failures] == ["f" * 32]


def test_nothing_chosen_is_nothing_imported(store: Store, target: RunningSandbox) -> None:
    assert importer_of(store, target).import_runs([]).runs_found == 0


def test_runs_of_several_stores_in_one_call(target: RunningSandbox, store: Store, tmp_path: Path) -> None:
    other = filled(sqlite_store(tmp_path / "other"))
    importers = [importer_of(each, target) for each in (store, other)]
    runs = [run for importer in importers for run in importer.collect_runs(limit=1)]
    result = importers[0].import_runs(runs, namespace=Namespace(B, "stores"))
    assert result.runs_done == len(result.transfers) == 2


def test_collected_runs_are_listed_as_often_as_one_likes(store: Store, target: RunningSandbox) -> None:
    collected = importer_of(store, target).collect_runs()
    assert isinstance(collected, CollectedRuns)
    ids = {run.run_id() for run in collected}
    assert ids == {run.run_id() for run in collected} == set(store.runs.values())
    first = next(iter(collected))
    assert set(first.config()) == set(PARAMS)
    assert set(first.summary()) == set(METRICS)


def test_the_order_of_arguments_is_that_of_the_old_importer(store: Store, target: RunningSandbox) -> None:
    importer = MlflowImporter(target.url, target.api_key, store.uri, store.uri)
    where = Namespace(B, "order")
    assert importer.import_runs(importer.collect_runs(limit=1), namespace=where).runs_done == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"dst_base_url": "api.wandb.ai"}, "no address"),
        ({"custom_api_kwargs": {"timeout": 5, "overrides": {}}}, "overrides"),
    ],
)
def test_wrong_arguments_are_told_at_once(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        MlflowImporter(**arguments)


@pytest.mark.parametrize("namespace", [Namespace("", "p"), Namespace("e", "")])
def test_half_a_namespace_is_refused(store: Store, target: RunningSandbox, namespace: Namespace) -> None:
    importer = importer_of(store, target)
    with pytest.raises(ConfigError, match="entity and a project"):
        importer.import_runs(importer.collect_runs(), namespace=namespace)
