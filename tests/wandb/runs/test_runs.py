"""What becomes of a run, as W&B's own client reads it back."""

from __future__ import annotations

import math

import pytest
import wandb

from engine.errors import Conflict
from engine.records import (
    Code,
    DatasetInput,
    RunState,
)
from engine.transfer.context import Context
from tests.servers import RunningSandbox
from tests.wandb.conftest import Opened
from tests.wandb.making import START, a_run, write

pytestmark = pytest.mark.anyio


async def test_a_run_arrives_with_all_its_fields(opened: Opened, api: wandb.Api):
    run = a_run(
        name="Déjà vu, 1/2: ünï\n",
        notes="# Notes\r\nwith *markdown*",
        config={"lr": "0.1", "layers.0/size": "64", "nested": {"a": [1, 2.5, None]}},
        labels={"team": "vision", "long": "x" * 300},
        tags=("good", "y" * 65, "good", ""),
        group="sweep 7",
        job_type="train",
        user="ada",
        host="gpu-1",
        parent_id="parent",
        code=Code(program="train.py", commit="c0ffee", remote="git@host:repo.git"),
        inputs=(DatasetInput(name="mnist", digest="d", source_type="http", source="http://h/x"),),
        extra={"mlflow_tags": {"mlflow.user": "ada"}},
    )
    async with opened() as (destination, namespace):
        await write(destination, namespace, run)

    read = api.run(f"{namespace.path}/{run.id}")
    assert read.name == run.name
    assert read.state == "finished"
    assert read.notes == run.notes
    assert read.group == "sweep 7"
    assert read.job_type == "train"
    assert read.tags == ["good"]
    assert read.commit == "c0ffee"
    config = dict(read.config)
    provenance = config.pop("_import")
    assert config.pop("imported_mlflow_tags") == run.labels
    assert config == run.config
    assert provenance["source"] == "mlflow:http://tracking:5000"
    assert provenance["run_id"] == run.id
    assert provenance["project"] == "experiment"
    assert provenance["user"] == "ada"
    assert provenance["parent_id"] == "parent"
    assert (provenance["started_at"], provenance["ended_at"]) == (START, START + 90_500)
    assert provenance["started_at_iso"] == "2023-11-14T22:13:20.000000Z"
    assert provenance["inputs"][0]["name"] == "mnist"
    assert provenance["extra"] == run.extra
    assert provenance["tags"] == list(run.tags)
    assert [loss["kind"] for loss in provenance["losses"]] == ["tag_dropped"]
    assert provenance["losses"][0]["count"] == 3
    metadata = read.metadata
    assert metadata["startedAt"] == "2023-11-14T22:13:20.000000Z"
    assert metadata["host"] == "gpu-1"
    assert metadata["git"] == {"remote": "git@host:repo.git", "commit": "c0ffee"}
    assert read.summary["_runtime"] == 90.5


async def test_a_small_run_costs_four_requests(opened: Opened, context: Context):
    history = [("loss", n, START + n, float(n)) for n in range(100)]
    async with opened() as (destination, namespace):
        before = context.counters.requests
        await write(destination, namespace, a_run(), history)
    assert context.counters.requests - before == 4


async def test_a_run_without_a_name_is_called_by_its_id(opened: Opened, api: wandb.Api):
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(name=""))
    assert api.run(f"{namespace.path}/{a_run().id}").name == a_run().id


async def test_an_illegal_id_becomes_a_legal_one_that_stays_the_same(
    opened: Opened, api: wandb.Api, context: Context
):
    async with opened() as (destination, namespace):
        for _ in range(2):
            await write(destination, namespace, a_run(id="a/b?#c"))
    (read,) = api.runs(namespace.path, lazy=False)
    assert read.config["_import"]["run_id"] == "a/b?#c"
    assert context.losses.counts["run_id_changed"] == 2


async def test_parameters_that_shadow_internals_are_renamed_and_kept(opened: Opened, api: wandb.Api):
    config = {"_wandb": "1", "wandb_version": "2", "_import": "3", "imported_mlflow_tags": "4", "ok": "5"}
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(config=config))
    read = dict(api.run(f"{namespace.path}/{a_run().id}").config)
    assert len(read.pop("_import")["losses"]) == 4
    assert read == {"ok": "5", **{f"mlflow/{key}": config[key] for key in config if key != "ok"}}


async def test_values_that_json_has_no_word_for_become_text(opened: Opened, api: wandb.Api, context: Context):
    config = {"nan": math.nan, "deep": [{"inf": -math.inf}], "surrogate": "a\ud800b", "big": 2**70}
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(config=config))
    read = api.run(f"{namespace.path}/{a_run().id}").config
    assert read["nan"] == "NaN"
    assert read["deep"] == [{"inf": "-Infinity"}]
    assert read["surrogate"] == "a�b"
    assert context.losses.counts["value_coerced"] == 3


@pytest.mark.parametrize(
    ("state", "read_back"),
    [
        (RunState.FINISHED, {"finished"}),
        (RunState.FAILED, {"failed"}),
        (RunState.KILLED, {"killed", "failed"}),
        (RunState.CRASHED, {"crashed", "running"}),
        (RunState.RUNNING, {"running"}),
        (RunState.PENDING, {"pending"}),
        (RunState.PREEMPTED, {"preempting", "preempted"}),
    ],
)
async def test_the_state_is_the_nearest_that_a_server_takes(
    opened: Opened, api: wandb.Api, state: RunState, read_back: set[str]
):
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(state=state, source_state="WORD", ended_at=None))
    read = api.run(f"{namespace.path}/{a_run().id}")
    assert read.state in read_back
    assert read.config["_import"]["state"] == "WORD"


async def test_a_run_that_is_only_scheduled_stays_so_even_if_it_has_a_history(opened: Opened, api: wandb.Api):
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(state=RunState.PENDING), [("loss", 0, START, 1.0)])
    read = api.run(f"{namespace.path}/{a_run().id}")
    assert read.state == "pending"
    assert len(list(read.scan_history())) == 1


async def test_a_deleted_id_is_refused_at_once_with_a_way_out(
    opened: Opened, sandbox: RunningSandbox, context: Context
):
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run())
        found = sandbox.graphql(
            "query($e:String!,$p:String!,$r:String!){project(name:$p,entityName:$e){run(name:$r){id}}}",
            e=namespace.entity,
            p=namespace.project,
            r=a_run().id,
        )
        sandbox.graphql(
            "mutation($id:ID!){deleteRun(input:{id:$id}){clientMutationId}}", id=found["project"]["run"]["id"]
        )
        before = context.counters.requests
        with pytest.raises(Conflict, match=a_run().id) as refused:
            await destination.open_run(a_run(), namespace)
    assert "restore" in str(refused.value)
    assert context.counters.requests - before == 1
