"""A run whose id is taken: nothing is written over, and the id that it gets instead is found again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import wandb

from engine.errors import ConfigError, Conflict
from engine.protocols import SystemOptions
from engine.records import Namespace, Project, Run
from engine.transfer.context import Context
from engine.transfer.ledger.identity import IdMap
from engine.transfer.ledger.ledger import open_ledger
from engine.wandb import WandbDestination
from engine.wandb.names import suffixed
from tests.servers import RunningSandbox
from tests.wandb.conftest import ENTITY, Opened
from tests.wandb.making import a_run, write

pytestmark = pytest.mark.anyio

HISTORY = [("loss", step, 1_700_000_000_000 + step, 1.0) for step in range(3)]

UPSERT = """
mutation Upsert($e: String!, $p: String!, $r: String!, $config: JSONString) {
  upsertBucket(input: {entityName: $e, modelName: $p, name: $r, displayName: "theirs", config: $config}) {
    bucket { id }
  }
}
"""
DELETE = "mutation Delete($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"


@pytest.fixture(params=["short", "0123456789abcdef0123456789abcdef"])
def run(request: pytest.FixtureRequest) -> Run:
    """One whose id other servers may have made, too, and one of MLflow."""
    return a_run(id=request.param)


class Somebody:
    """Who uses the same project, without this engine."""

    def __init__(self, sandbox: RunningSandbox, project: str) -> None:
        self._sandbox, self._project = sandbox, project

    def makes(self, name: str, **provenance: str) -> str:
        """A run, which may say where it came from; its id of the server's own."""
        config = json.dumps({"_import": {"value": provenance}} if provenance else {"lr": {"value": 1}})
        data = self._sandbox.graphql(UPSERT, e=ENTITY, p=self._project, r=name, config=config)
        storage_id: str = data["upsertBucket"]["bucket"]["id"]
        return storage_id

    def deletes(self, name: str) -> None:
        self._sandbox.graphql(DELETE, id=self.makes(name))


@pytest.fixture
def somebody(sandbox: RunningSandbox, request: pytest.FixtureRequest) -> Somebody:
    return Somebody(sandbox, request.node.name[:100])


def names(api: wandb.Api, namespace: Namespace) -> dict[str, str]:
    return {run.id: run.name for run in api.runs(namespace.path)}


async def test_a_run_of_somebody_else_is_left_as_it_is(opened: Opened, api, somebody, run):
    somebody.makes(run.id)
    async with opened() as (destination, namespace):
        with pytest.raises(Conflict, match=f"holds another run of the id '{run.id}'.*--ids suffix"):
            await destination.open_run(run, namespace)
    assert names(api, namespace) == {run.id: "theirs"}
    assert dict(api.run(f"{namespace.path}/{run.id}").config) == {"lr": 1}


@pytest.mark.parametrize("taken", ["makes", "deletes"])
async def test_it_can_have_another_id_which_is_found_again_without_a_ledger(
    opened: Opened, api, somebody, run, taken
):
    getattr(somebody, taken)(run.id)
    somebody.makes(f"{run.id}-2", run_id="another", project="experiment")
    for _ in range(2):
        async with opened(ids="suffix") as (destination, namespace):
            await write(destination, namespace, run, HISTORY)

    theirs = {run.id: "theirs"} if taken == "makes" else {}
    assert names(api, namespace) == {**theirs, f"{run.id}-2": "theirs", f"{run.id}-3": run.id}
    arrived = api.run(f"{namespace.path}/{run.id}-3")
    assert arrived.config["_import"]["run_id"] == run.id
    assert len(list(arrived.scan_history())) == 3


async def test_our_own_run_is_adopted_whatever_became_of_the_experiments_name(opened: Opened, api):
    run = a_run()
    async with opened() as (destination, namespace):
        await write(destination, namespace, run)
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(namespace=Namespace("", "renamed"), name="again"))
    assert names(api, namespace) == {run.id: "again"}


async def test_runs_of_one_id_from_two_projects_are_not_merged(opened: Opened, api, somebody):
    first, second = a_run(id="same"), a_run(id="same", namespace=Namespace("", "other"))
    somebody.makes("there-before")
    async with opened() as (destination, namespace):
        await write(destination, namespace, first)
        with pytest.raises(Conflict, match="which came from 'experiment'"):
            await destination.open_run(second, namespace)
    async with opened(ids="suffix") as (destination, namespace):
        await write(destination, namespace, second)
    assert names(api, namespace).keys() == {"there-before", "same", "same-2"}


async def test_two_projects_that_meet_in_a_new_one_are_told_apart(
    sandbox: RunningSandbox, context: Context, api
):
    options = SystemOptions(api_key=sandbox.api_key, ids="suffix")
    destination = WandbDestination(f"{sandbox.url}/{ENTITY}/met", options)
    sources = [Namespace("", "one"), Namespace("", "two")]
    async with destination.open(context):
        await destination.prepare([Project(namespace=source, id=source.project) for source in sources])
        for source in sources:
            await write(destination, Namespace(ENTITY, "met"), a_run(id="same", namespace=source))
    assert names(api, Namespace(ENTITY, "met")).keys() == {"same", "same-2"}


async def test_all_can_have_new_ids_that_are_the_same_each_time(opened: Opened, api, run):
    for _ in range(2):
        async with opened(ids="new") as (destination, namespace):
            await write(destination, namespace, run)
    [(new_id, name)] = names(api, namespace).items()
    assert len(new_id) == 16
    assert new_id != run.id == name
    assert api.run(f"{namespace.path}/{new_id}").config["_import"]["run_id"] == run.id


async def test_a_project_that_the_transfer_made_costs_no_question(opened: Opened, context: Context, run):
    async with opened() as (destination, namespace):
        before = context.counters.requests
        await destination.open_run(run, namespace)
        assert context.counters.requests - before == 1


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state"


async def test_the_id_is_in_the_ledger_and_in_a_file_and_is_not_tried_again(
    opened: Opened, somebody, context: Context, directory: Path
):
    run = a_run(id="short")
    somebody.deletes(run.id)
    requests = []
    for _ in range(2):
        async with open_ledger("a:", "b:", state_dir=directory, scratch=directory) as ledger:
            context.ids = IdMap(ledger, ledger)
            async with opened(ids="suffix") as (destination, namespace):
                before = context.counters.requests
                await destination.open_run(run, namespace)
                requests.append(context.counters.requests - before)

    assert requests == [4, 2]
    [line] = (directory / "id_map.jsonl").read_text().splitlines()
    told = json.loads(line)
    assert told.pop("reason").startswith("this run id was used before and deleted")
    assert told == {
        "src_entity": "",
        "src_project": "experiment",
        "dst_entity": namespace.entity,
        "dst_project": namespace.project,
        "run_id": "short",
        "dst_run_id": "short-2",
    }


async def test_what_was_given_another_id_keeps_it_when_the_policy_is_forgotten(
    opened: Opened, api, somebody, context: Context, directory: Path
):
    run = a_run(id="short")
    somebody.makes(run.id)
    for policy in ("suffix", "keep"):
        async with open_ledger("a:", "b:", state_dir=directory, scratch=directory) as ledger:
            context.ids = IdMap(ledger, ledger)
            async with opened(ids=policy) as (destination, namespace):
                await write(destination, namespace, run)
    assert names(api, namespace).keys() == {"short", "short-2"}


def test_a_policy_that_nobody_knows_is_told(sandbox: RunningSandbox):
    with pytest.raises(ConfigError, match="say keep, suffix, new"):
        WandbDestination(f"{sandbox.url}/{ENTITY}/p", SystemOptions(ids="merge"))


@pytest.mark.parametrize(("length", "longest"), [(3, 64), (64, 64), (65, 128), (128, 128)])
def test_a_suffix_never_makes_an_id_too_long(length, longest):
    made = suffixed("x" * length, 12)
    assert made.endswith("-12")
    assert len(made) == min(length + 3, longest)


async def test_it_can_be_asked_which_runs_it_has(opened: Opened, somebody):
    somebody.makes("theirs")
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run())
        held = [await destination.holds_run(a_run(id=name), namespace) for name in ("theirs", "nobodys")]
        assert held == [True, False]
        assert await destination.holds_run(a_run(), namespace)
