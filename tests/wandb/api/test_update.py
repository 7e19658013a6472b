"""``run.update``: what was changed is written, what others did stays or is a conflict."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator

import numpy as np
import pytest
import wandb

import engine
from engine.wandb.api import Api, Run
from tests.servers import RunningSandbox
from tests.wandb.conftest import ENTITY

pytestmark = pytest.mark.anyio

CREATE = """mutation($entity: String, $project: String, $config: JSONString, $summary: JSONString) {
  upsertBucket(input: { entityName: $entity, modelName: $project, name: "r", displayName: "shown",
    notes: "old", tags: ["a"], config: $config, summaryMetrics: $summary }) { inserted }
}"""
CONFIG = {
    "lr": {"value": 0.1, "desc": "rate"},
    "depth": {"value": 3},
    "_wandb": {"value": {"cli_version": "0.31.0", "m": []}},
}


@pytest.fixture
async def api(sandbox: RunningSandbox) -> AsyncGenerator[Api]:
    async with Api(base_url=sandbox.url, api_key=sandbox.api_key) as opened:
        yield opened


@pytest.fixture
async def path(sandbox: RunningSandbox, request: pytest.FixtureRequest) -> str:
    """Of a run of the test's own."""
    project = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    sandbox.graphql(
        CREATE,
        entity=ENTITY,
        project=project,
        config=json.dumps(CONFIG),
        summary=json.dumps({"loss": 0.5, "acc": 0.25, "_step": 9}),
    )
    return f"{ENTITY}/{project}/r"


@pytest.fixture
def sdk(sandbox: RunningSandbox) -> wandb.Api:
    return wandb.Api(overrides={"base_url": sandbox.url}, api_key=sandbox.api_key)


def told(run: Run) -> tuple:
    return (run.config, run.summary, run.tags, run.notes, run.name, run.group, run.job_type)


async def test_everything_can_be_changed_at_once(api: Api, sdk: wandb.Api, path: str):
    run = await api.run(path)
    await run.update(
        config={"lr": 0.2, "new": {"nested": [1, None]}},
        summary={"acc": 0.9},
        tags=["b", "c"],
        notes="new",
        name="renamed",
        group="g",
        job_type="eval",
    )
    expected = (
        {"lr": 0.2, "depth": 3, "new": {"nested": [1, None]}},
        {"loss": 0.5, "acc": 0.9, "_step": 9},
        ["b", "c"],
        "new",
        "renamed",
        "g",
        "eval",
    )
    assert told(run) == told(await api.run(path)) == expected
    witness = sdk.run(path)
    assert (witness.config, dict(witness.summary_metrics)) == expected[:2]
    assert (witness.tags, witness.notes, witness.name, witness.group, witness.job_type) == expected[2:]


async def test_what_is_internal_and_described_stays(api: Api, path: str):
    run = await api.run(path)
    await run.update(config={"lr": 0.2})
    stored = json.loads((await api.run(path)).json_config)
    assert stored == {**CONFIG, "lr": {"value": 0.2, "desc": "rate"}}


async def test_changes_of_the_object_are_written(api: Api, path: str):
    run = await api.run(path)
    run.config["depth"] = 4
    del run.config["lr"]
    run.summary["accuracy"] = run.summary.pop("acc")
    run.tags.append("z")
    run.notes = ""
    await run.update()
    again = await api.run(path)
    assert again.config == {"depth": 4}
    assert again.summary == {"loss": 0.5, "_step": 9, "accuracy": 0.25}
    assert (again.tags, again.notes) == (["a", "z"], None)


async def test_what_others_changed_elsewhere_stays(api: Api, path: str):
    mine, theirs = await api.run(path), await api.run(path)
    await theirs.update(config={"depth": 30}, summary={"loss": 0.1}, notes="theirs")
    await mine.update(config={"lr": 0.3})
    assert told(mine)[:4] == (
        {"lr": 0.3, "depth": 30},
        {"loss": 0.1, "acc": 0.25, "_step": 9},
        ["a"],
        "theirs",
    )


async def test_a_conflict_writes_nothing(api: Api, path: str):
    """The SDK's ``update`` writes the whole config over what others did (E42)."""
    mine, theirs = await api.run(path), await api.run(path)
    await theirs.update(config={"lr": 0.2})
    with pytest.raises(engine.CommError, match=r"config\.lr was 0\.1, is 0\.2 now") as caught:
        await mine.update(config={"lr": 0.3}, notes="mine")
    assert isinstance(caught.value, engine.Conflict)
    assert ((await api.run(path)).config["lr"], (await api.run(path)).notes) == (0.2, "old")
    await mine.update(config={"lr": 0.3}, overwrite=True)
    assert (await api.run(path)).config["lr"] == 0.3


async def test_the_same_change_twice_is_no_conflict(api: Api, path: str):
    mine, theirs = await api.run(path), await api.run(path)
    await theirs.update(tags=["b"])
    assert await mine.update(tags=["b"]) == ()


async def test_a_dry_run_tells_and_writes_nothing(api: Api, path: str, sandbox: RunningSandbox):
    run = await api.run(path)
    writes = sandbox.counters()["writes"]
    changes = await run.update(config={"lr": 1, "depth": 3}, summary={"x": math.nan}, dry_run=True)
    assert [str(change) for change in changes] == ["config.lr: 0.1 → 1", "summary.x: nothing → nan"]
    assert sandbox.counters()["writes"] == writes


async def test_no_change_is_no_request_to_write(api: Api, path: str, sandbox: RunningSandbox):
    run = await api.run(path)
    writes = sandbox.counters()["writes"]
    assert await run.update(config={"lr": 0.1}) == ()
    assert sandbox.counters()["writes"] == writes


async def test_numpy_values_are_written_as_what_they_are(api: Api, path: str):
    run = await api.run(path)
    await run.update(summary={"f": np.float32(0.5), "i": np.int64(3), "a": np.arange(2)})
    summary = (await api.run(path)).summary
    assert (summary["f"], summary["i"], summary["a"]) == (0.5, 3, [0, 1])


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"config": {"k": object()}}, id="an object"),
        {"config": {1: 2}},
        {"config": [1]},
        {"config": {"_wandb": {}}},
        {"summary": "text"},
        {"tags": "text"},
        {"tags": [1]},
        {"notes": 3},
        {"notes": "\ud800"},
    ],
    ids=repr,
)
async def test_what_cannot_be_written_is_refused(api: Api, path: str, wrong: dict):
    before = (await api.run(path)).node
    with pytest.raises(engine.ConfigError) as refused:
        await (await api.run(path)).update(**wrong)
    assert "lr" not in str(refused.value), "it tells of what is wrong alone"
    assert (await api.run(path)).node == before
