"""A plan against real stores and servers: it writes nothing, and what it foretells is what happens."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from engine import (
    AuthError,
    ConfigError,
    Engine,
    EngineError,
    Options,
    Plan,
    Selection,
    open_destination,
    open_source,
)
from engine.protocols import SystemOptions
from engine.sandbox import Account
from engine.transfer.options import Result
from tests import hostile
from tests.e2e.transfers import Outcome, Target, command
from tests.mlflow_server import running_mlflow
from tests.servers import RunningSandbox, running_sandbox
from tests.stores import Store, file_store, ordinary_store, sqlite_store

UNFORESEEN = {"timestamp_merged", "row_too_long", "summary_too_long", "inf_from_dbl_max"}
"""What only shows when the points and bytes are read."""

ENTITY = "planner"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    """A server to which nobody else writes, so that its counters tell who did what."""
    with running_sandbox(tmp_path_factory.mktemp("own"), accounts=[Account(ENTITY)]) as running:
        yield running


@pytest.fixture(scope="module")
def ordinary(stores: Path) -> Store:
    return ordinary_store(sqlite_store(stores / "planned"))


def sides(
    source: str,
    server: RunningSandbox,
    project: str,
    *,
    roots: dict[str, str] | None = None,
    **options: Any,
) -> Engine:
    """A transfer that is not begun."""
    target = Target(server.url, server.api_key, ENTITY, project)
    return Engine(
        open_source(source, SystemOptions(artifact_roots=roots or {}, api_key=server.api_key)),
        open_destination(target.uri, SystemOptions(api_key=server.api_key)),
        Options(**options),
    )


def plan_of(engine: Engine) -> Plan:
    return anyio.run(engine.plan)


def moved_by(engine: Engine) -> tuple[Result, Counter[str]]:
    """What the transfer did, and its requests by class of endpoint."""

    async def run() -> tuple[Result, Counter[str]]:
        async with engine:
            result = await engine.run()
            return result, Counter({s.endpoint: s.sent for s in engine._context.throttles.states()})

    return anyio.run(run)


def refused(engine: Engine) -> EngineError:
    """Why a transfer does not begin."""

    async def enter() -> None:
        async with engine:
            raise AssertionError("it began")

    with pytest.raises(EngineError) as raised:
        anyio.run(enter)
    return raised.value


# -- nothing is written --------------------------------------------------------------------------


def test_a_plan_writes_nothing_on_either_side(ordinary: Store, own: RunningSandbox):
    content = hashlib.sha256(ordinary.database.read_bytes()).digest()
    before = own.counters()["writes"]

    plan = plan_of(sides(f"mlflow:{ordinary.uri}", own, "nothing-written"))

    assert plan.runs_found == len(ordinary.runs)
    assert own.counters()["writes"] == before
    assert hashlib.sha256(ordinary.database.read_bytes()).digest() == content


def test_nothing_is_written_while_something_stands_in_the_way(ordinary: Store, own: RunningSandbox):
    before = own.counters()["writes"]

    error = refused(
        sides(f"mlflow:{ordinary.uri}", own, "stopped", selection=Selection(projects=("nosuch",)))
    )

    assert "nosuch" in error.message
    assert own.counters()["writes"] == before


# -- what is foretold is what happens --------------------------------------------------------------


@pytest.fixture(scope="module")
def routes(ordinary: Store, stores: Path) -> Iterator[Callable[[str], tuple[str, dict[str, str]]]]:
    """Ways to a store: a URI, and where its artifacts are."""
    files = ordinary_store(file_store(stores / "planned-files"))
    with running_mlflow(ordinary.uri, ordinary.served) as server:
        known = {
            "sqlite": (f"mlflow:{ordinary.uri}", {"mlflow-artifacts:": str(ordinary.served)}),
            "files": (f"mlflow:{files.uri}", {"mlflow-artifacts:": str(files.served)}),
            "server": (f"mlflow:{server.url}", {}),
        }
        yield known.__getitem__


@pytest.mark.parametrize("route", ["sqlite", "files", "server"])
def test_amounts_are_those_that_are_moved(
    route: str, routes: Callable[[str], tuple[str, dict[str, str]]], own: RunningSandbox
):
    uri, roots = routes(route)
    plan = plan_of(sides(uri, own, f"amounts-{route}", roots=roots))
    result, _ = moved_by(sides(uri, own, f"amounts-{route}", roots=roots))

    counters = result.counters
    assert plan.runs_to_move == result.runs_done
    assert plan.artifact_files.about == counters.files
    assert plan.bytes.about == counters.bytes
    assert plan.failures == ()
    if route == "server":
        assert not plan.points.exact, "its API has no count"
        assert counters.points <= plan.points.about <= 3 * counters.points, "as if every step had a point"
    else:
        assert (plan.points.about, plan.points.exact) == (counters.points, True)


def test_requests_are_those_that_are_sent(ordinary: Store, own: RunningSandbox):
    uri, roots = f"mlflow:{ordinary.uri}", {"mlflow-artifacts:": str(ordinary.served)}
    plan = plan_of(sides(uri, own, "requests", roots=roots))
    _, sent = moved_by(sides(uri, own, "requests", roots=roots))

    foretold = {
        name: plan.requests[f"destination {name}"].about for name in ("filestream", "objects", "graphql")
    }
    assert foretold["filestream"] == sent["filestream"]
    # Of files with the same content, one that has arrived before need not be sent.
    assert 0 <= foretold["objects"] - sent["objects"] <= 1
    looking = 4
    assert 0 <= sent["graphql"] - foretold["graphql"] <= looking


@pytest.mark.parametrize("route", ["sqlite", "server"])
def test_what_was_planned_can_be_moved_by_the_same_engine(
    route: str, routes: Callable[[str], tuple[str, dict[str, str]]], own: RunningSandbox
):
    uri, roots = routes(route)
    engine = sides(uri, own, f"same-{route}", roots=roots, selection=Selection(projects=("text",)))

    plan = plan_of(engine)
    result, _ = moved_by(engine)

    assert (result.runs_done, result.failures) == (plan.runs_to_move, [])


def test_losses_of_a_hostile_store_are_foretold(stores: Path, own: RunningSandbox):
    store = hostile.hostile_store(stores / "hostile-plan")

    plan = plan_of(sides(f"mlflow:{store.uri}", own, "losses"))
    result, _ = moved_by(sides(f"mlflow:{store.uri}", own, "losses"))

    foretold = {loss.kind: loss.count.about for loss in plan.losses if loss.kind not in UNFORESEEN}
    happened = {kind: count for kind, count in result.losses.items() if kind not in UNFORESEEN}
    assert foretold == happened
    assert {"key_renamed", "steps_resequenced", "state_not_representable"} <= foretold.keys()
    assert plan.failures, "some artifacts cannot be reached"
    assert sum(failure.count for failure in plan.failures) == result.failure_count


def test_after_a_transfer_there_is_nothing_to_do(ordinary: Store, own: RunningSandbox, tmp_path: Path):
    options: dict[str, Any] = {"selection": Selection(projects=("vision/resnet",)), "state_dir": tmp_path}
    result, _ = moved_by(sides(f"mlflow:{ordinary.uri}", own, "again", **options))

    plan = plan_of(sides(f"mlflow:{ordinary.uri}", own, "again", **options))

    assert (plan.runs_found, plan.runs_arrived, plan.runs_to_move) == (5, result.runs_done, 0)
    assert [project.exists for project in plan.projects] == [True]


# -- the command ---------------------------------------------------------------------------------


def _engine(
    name: str, store: Store, server: RunningSandbox, project: str, *arguments: str, state: Path
) -> Outcome:
    target = Target(server.url, server.api_key, ENTITY, project)
    return command(
        name,
        f"mlflow:{store.uri}",
        target.uri,
        *arguments,
        environ={"WANDB_API_KEY": server.api_key, "ENGINE_STATE_DIR": str(state)},
    )


def test_a_plan_is_told_to_people(ordinary: Store, own: RunningSandbox, tmp_path: Path):
    done = _engine("plan", ordinary, own, "", state=tmp_path / "state")

    assert done.status == 1, "artifacts that a server keeps cannot be read from its database"
    assert "vision/resnet planner/vision-resnet-afa18ce0 (new) 5 5" in done.text
    assert "1 name cannot be kept" in done.text
    assert "cannot be read, and so would not arrive" in done.text
    assert "Nothing was written" in done.text
    assert not (tmp_path / "state").exists()


def test_migrate_with_plan_is_the_same_command(ordinary: Store, own: RunningSandbox, tmp_path: Path):
    told = [
        json.loads(_engine(name, ordinary, own, "same", "--json", *rest, state=tmp_path).out)
        for name, rest in (("plan", ()), ("migrate", ("--plan",)))
    ]

    for document in told:
        for varying in ("planning_s", "duration"):
            del document[varying]
    assert told[0] == told[1]


def test_all_problems_are_told_at_once(ordinary: Store, own: RunningSandbox, tmp_path: Path):
    (tmp_path / "state").write_text("")
    target = f"wandb:{own.url}/nosuchteam"

    done = command(
        "migrate",
        f"mlflow:{ordinary.uri}",
        target,
        "--experiment",
        "visio",
        "--state-dir",
        str(tmp_path / "state" / "dir"),
        environ={"WANDB_API_KEY": own.api_key},
    )

    assert done.status == 2
    assert "3 things stand in the way, and nothing was started" in done.text
    assert "the entity 'nosuchteam' does not exist" in done.text
    assert "there is no experiment 'visio'" in done.text
    assert "the state directory" in done.text


def test_sides_that_cannot_be_used_are_3(own: RunningSandbox):
    done = command(
        "plan", "mlflow:http://127.0.0.1:1", f"wandb:{own.url}/{ENTITY}", environ={"WANDB_API_KEY": "x" * 40}
    )

    assert done.status == 3
    assert "invalid API key" in done.text
    assert "cannot connect" in done.text


def test_problems_are_json_too(ordinary: Store, own: RunningSandbox, tmp_path: Path):
    done = _engine("plan", ordinary, own, "p", "--json", "--experiment", "nosuch", state=tmp_path)

    (problem,) = json.loads(done.out)["problems"]
    assert (done.status, problem["severity"], problem["side"]) == (2, "error", "source")
    assert "vision/resnet" in problem["remedy"]


# -- places --------------------------------------------------------------------------------------


def test_two_experiments_that_are_sent_to_one_project_are_pointed_out(ordinary: Store, own: RunningSandbox):
    plan = plan_of(sides(f"mlflow:{ordinary.uri}", own, "", remap={"text": "one", "served": "one"}))

    (merged,) = [warning for warning in plan.warnings if warning.kind == "projects_merged"]
    assert merged.message == "2 experiments meet in planner/one: 'text', 'served'"
    assert {project.source for project in plan.projects if project.destination == "planner/one"} == {
        "text",
        "served",
    }


def test_a_project_is_not_copied_onto_itself(own: RunningSandbox, ordinary: Store):
    moved_by(sides(f"mlflow:{ordinary.uri}", own, "self", selection=Selection(limit=1)))
    before = own.counters()["writes"]

    error = refused(sides(Target(own.url, own.api_key, ENTITY, "self").uri, own, "self"))

    assert (error.message, error.subject) == (
        "source and destination are the same project",
        f"{ENTITY}/self",
    )
    assert own.counters()["writes"] == before


# -- servers that are not as they should be ------------------------------------------------------


Served = Callable[[Any], AbstractContextManager[RunningSandbox]]


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """A server that somebody stands in front of."""
    return lambda intercept: running_sandbox(
        tmp_path / "served", accounts=[Account(ENTITY)], intercept=intercept
    )


def late_by(late_s: float) -> Any:
    async def late(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        answer.headers["Date"] = formatdate(time.time() - late_s, usegmt=True)
        return answer

    return late


def test_a_clock_that_is_far_off_is_an_error(served: Served, ordinary: Store):
    with served(late_by(1_200)) as server:
        error = refused(sides(f"mlflow:{ordinary.uri}", server, "p"))
        assert server.counters()["writes"] == 0

    assert isinstance(error, ConfigError)
    assert "20 minutes behind this machine's" in error.message


def test_a_clock_that_is_a_little_off_is_told(served: Served, ordinary: Store):
    with served(late_by(300)) as server:
        plan = plan_of(sides(f"mlflow:{ordinary.uri}", server, "p"))

    assert [warning.kind for warning in plan.warnings] == ["clock_skew"]


@pytest.mark.parametrize("of", ["entity", "project"])
def test_what_may_only_be_read_is_told(of: str, served: Served, ordinary: Store):
    async def read_only(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/graphql" and f"query {of.title()}(" in (await request.json())["query"]:
            return web.json_response({"data": {of: {"id": "x", "name": "x", "readOnly": True}}})
        return await handler(request)

    with served(read_only) as server:
        error = refused(sides(f"mlflow:{ordinary.uri}", server, "p"))
        assert server.counters()["writes"] == 0

    assert isinstance(error, AuthError)
    assert "but not write to it" in error.message
    assert error.remedy is not None
    assert "ask its owners for write access" in error.remedy


# -- selections ----------------------------------------------------------------------------------


def test_the_selection_of_a_transfer_is_that_of_its_plan(ordinary: Store, own: RunningSandbox):
    chosen = Selection(projects=("text",), filter="params.epochs = '3'", limit=2)

    plan = plan_of(sides(f"mlflow:{ordinary.uri}", own, "p", selection=chosen))

    assert (plan.runs_found, [project.source for project in plan.projects]) == (2, ["text"])
