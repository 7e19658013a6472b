"""What is read from a tracking server: experiments, runs and the tree that they form."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from engine.errors import AuthError, CommError, ConfigError, Transient, Unsupported
from engine.mlflow.filters import parse_filter
from engine.mlflow.rest import RestStore, open_rest_store
from engine.mlflow.store import Kin, RawExperiment, RawRun
from engine.protocols import SystemOptions, Unreadable
from engine.transfer.context import Context
from tests.mlflow.conftest import ServedWorld
from tests.mlflow.local import serving
from tests.mlflow.rest_world import EXPERIMENTS, PAGED_RUNS, experiments_of
from tests.stores import BEGAN

pytestmark = pytest.mark.anyio


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(spool=tmp_path)


@pytest.fixture
async def store(served_world: ServedWorld, context: Context) -> AsyncIterator[RestStore]:
    store = open_rest_store(served_world.server.url, SystemOptions())
    assert isinstance(store, RestStore)
    async with store.open(context):
        yield store


@pytest.fixture
def experiments(served_world: ServedWorld) -> dict[str, RawExperiment]:
    return experiments_of(served_world.store)


async def ids(store: RestStore, experiment: RawExperiment, **selection: object) -> list[str]:
    return [run.id async for run in store.runs(experiment, **selection)]  # type: ignore[arg-type]


async def test_says_what_it_is_connected_to(served_world: ServedWorld, context: Context) -> None:
    store = open_rest_store(served_world.server.url + "/", SystemOptions())
    async with store.open(context) as info:
        assert info.product == "MLflow server"
        assert info.version
        assert info.version.startswith("3.")
        assert info.uri == served_world.server.url


async def test_more_experiments_than_a_page_come_each_once_in_order_of_id(store: RestStore) -> None:
    found = [one async for one in store.experiments(include_deleted=False)]
    numbers = [int(one.id) for one in found]
    assert numbers == sorted(set(numbers))
    assert sum(one.name.startswith("one of many") for one in found) == EXPERIMENTS


async def test_deleted_experiments_come_on_request(store: RestStore) -> None:
    async def names(*, include_deleted: bool) -> set[str]:
        return {one.name async for one in store.experiments(include_deleted=include_deleted)}

    assert await names(include_deleted=True) - await names(include_deleted=False) == {"in the trash"}


async def test_more_runs_than_a_page_come_each_once_by_start_time_and_id(
    store: RestStore, experiments: dict[str, RawExperiment]
) -> None:
    found = await ids(store, experiments["paging"])
    numbered = [f"{number:032x}" for number in range(PAGED_RUNS)]
    assert found[1:] == numbered
    assert len(found) == PAGED_RUNS + 1, "the run without a start time comes first"


async def test_deleted_runs_come_on_request(
    store: RestStore, served_world: ServedWorld, experiments: dict[str, RawExperiment]
) -> None:
    every = await ids(store, experiments["paging"], include_deleted=True)
    assert set(every) - set(await ids(store, experiments["paging"])) == {
        served_world.store.runs["paging-deleted"]
    }


async def test_since_takes_runs_that_started_at_that_millisecond_or_later(
    store: RestStore, experiments: dict[str, RawExperiment]
) -> None:
    assert len(await ids(store, experiments["paging"], since=BEGAN + 1)) == 2
    assert len(await ids(store, experiments["paging"], since=BEGAN)) == PAGED_RUNS


async def test_a_filter_is_decided_by_the_server_and_goes_with_since(
    store: RestStore, served_world: ServedWorld, experiments: dict[str, RawExperiment]
) -> None:
    runs = served_world.store.runs
    where = parse_filter(["params.lr = '0.2'", "params.lr = '0.1'"][0])
    assert await ids(store, experiments["family"], where=where) == [runs["family-child"]]
    assert await ids(store, experiments["family"], where=where, since=BEGAN + 1) == []


async def test_a_filter_that_the_server_refuses_is_the_users_mistake(
    store: RestStore, experiments: dict[str, RawExperiment]
) -> None:
    class Filter:
        text = "nonsense"

    with pytest.raises(ConfigError, match="nonsense"):
        await ids(store, experiments["family"], where=Filter())


async def test_a_run_carries_its_params_tags_times_and_page(
    store: RestStore, served_world: ServedWorld, experiments: dict[str, RawExperiment]
) -> None:
    family = experiments["family"]
    wanted = served_world.store.runs["family-parent"]
    (run,) = [run async for run in store.runs(family) if isinstance(run, RawRun) and run.id == wanted]
    assert (run.name, run.status, run.user_id) == ("the parent", "FINISHED", "ada")
    assert (run.start_time, run.end_time) == (BEGAN, BEGAN + 90_500)
    assert run.params == {"lr": "0.1"}
    assert run.tags["label"] == "family-parent"
    assert run.url == f"{store.uri}/#/experiments/{family.id}/runs/{run.id}"


async def test_a_run_that_never_started_or_ended_has_no_times(
    store: RestStore, experiments: dict[str, RawExperiment]
) -> None:
    runs = [run async for run in store.runs(experiments["paging"])]
    assert isinstance(runs[0], RawRun)
    assert runs[0].start_time is None
    assert isinstance(runs[1], RawRun)
    assert runs[1].end_time is None


async def test_parents_are_found_even_if_they_are_gone(
    store: RestStore, served_world: ServedWorld, experiments: dict[str, RawExperiment]
) -> None:
    family = experiments["family"]
    assert await store.parents(family) == {served_world.store.runs["family-parent"], "gone"}


async def test_kin_tells_names_and_parents_and_leaves_out_what_is_gone(
    store: RestStore, served_world: ServedWorld, experiments: dict[str, RawExperiment]
) -> None:
    runs = served_world.store.runs
    asked = [runs["family-parent"], runs["family-child"], "gone", "f" * 32]
    expected = {
        runs["family-parent"]: Kin("the parent", None),
        runs["family-child"]: Kin("family-child", runs["family-parent"]),
    }
    assert await store.kin(asked) == expected, "before experiments were listed"
    [one async for one in store.experiments(include_deleted=True)]
    assert await store.kin(asked) == expected, "and after"


async def test_one_run_that_the_server_cannot_read_does_not_take_the_others_along(
    store: RestStore, served_world: ServedWorld, experiments: dict[str, RawExperiment]
) -> None:
    found = [run async for run in store.runs(experiments["broken"])]
    readable = {run.id for run in found if isinstance(run, RawRun)}
    assert readable == {served_world.store.runs[f"broken-{number}"] for number in range(5)}
    (unreadable,) = (run for run in found if isinstance(run, Unreadable))
    assert isinstance(unreadable.error, Transient)
    assert unreadable.error.status == 500
    assert "experiment 'broken'" in unreadable.id


async def test_a_server_that_is_not_there_is_told_at_once(context: Context) -> None:
    store = open_rest_store("http://127.0.0.1:9", SystemOptions())
    with pytest.raises(Transient, match="cannot connect"):
        async with store.open(context):
            pass


async def test_a_page_of_something_else_is_not_taken_for_a_server(context: Context) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>Sign in</title>", content_type="text/html")

    async with serving(page) as url:
        with pytest.raises(CommError, match="not MLflow's") as failure:
            async with open_rest_store(url, SystemOptions()).open(context):
                pass
    assert "really an MLflow tracking server" in str(failure.value)


async def test_a_server_that_is_too_old_is_refused(context: Context) -> None:
    async def old(request: web.Request) -> web.Response:
        return web.Response(text="2.8.1")

    async with serving(old) as url:
        with pytest.raises(Unsupported, match=r"2\.8\.1 is too old"):
            async with open_rest_store(url, SystemOptions()).open(context):
                pass


async def test_credentials_that_the_server_refuses_are_an_auth_error(context: Context) -> None:
    async def locked(request: web.Request) -> web.Response:
        if request.path == "/version":
            return web.Response(text="3.17.2")
        assert request.headers["Authorization"] == "Bearer wrong"
        body = {"error_code": "PERMISSION_DENIED", "message": "Permission denied"}
        return web.json_response(body, status=403)

    async with serving(locked) as url:
        store = open_rest_store(url, SystemOptions(api_key="wrong"))
        with pytest.raises(AuthError, match="Permission denied") as failure:
            async with store.open(context):
                pass
    assert "MLFLOW_TRACKING_TOKEN" in str(failure.value)
    assert "wrong" not in str(failure.value)


async def test_a_host_name_that_the_server_does_not_allow_is_explained(
    served_world: ServedWorld, context: Context
) -> None:
    async def forbidden(request: web.Request) -> web.Response:
        # As MLflow's host check answers; loopback names always pass it.
        return web.Response(text="Invalid Host header - possible DNS rebinding attack detected", status=403)

    async with serving(forbidden) as url:
        with pytest.raises(CommError, match="--allowed-hosts"):
            async with open_rest_store(url, SystemOptions()).open(context):
                pass


async def test_trouble_of_the_servers_database_is_tried_again(context: Context) -> None:
    answers = iter(["(sqlite3.OperationalError) database is locked", "QueuePool limit of size 5 reached"])

    async def busy(request: web.Request) -> web.Response:
        if request.path == "/version":
            return web.Response(text="3.17.2")
        if request.path.endswith("server-info"):
            return web.json_response({})
        if words := next(answers, None):
            return web.json_response({"error_code": "BAD_REQUEST", "message": words}, status=400)
        return web.json_response({"experiments": []})

    async with serving(busy) as url, open_rest_store(url, SystemOptions()).open(context) as info:
        assert info.version == "3.17.2"
