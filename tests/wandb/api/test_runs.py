"""``api.runs``: streamed, each run once, in either spelling."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import aclosing
from typing import Any

import pytest
import wandb

import engine
from engine.wandb.api import Api
from engine.wandb.api.filters import filter_text, order_text
from tests.servers import RunningSandbox
from tests.wandb.conftest import ENTITY

pytestmark = pytest.mark.anyio

PROJECT = f"{ENTITY}/trained"

FILTERS: list[dict[str, Any]] = [
    {},
    {"state": "finished"},
    {"displayName": "first try"},
    {"display_name": {"$regex": "^first"}},
    {"config.lr.value": 0.1},
    {"config.lr": {"$gt": 0.05}},
    {"summary_metrics.x": {"$gte": 2}},
    {"summary.x": {"$gte": 2}},
    {"tags": "baseline"},
    {"tags": {"$in": ["small", "large"]}},
    {"$or": [{"config.lr": 0.1}, {"state": "failed"}]},
    {"$and": [{"created_at": {"$gt": "2020-01-01"}}, {"createdAt": {"$lt": "2100-01-01"}}]},
    {"$nor": [{"state": "failed"}]},
    {"config.lr": {"$exists": False}},
]


@pytest.mark.parametrize("filters", FILTERS, ids=json.dumps)
async def test_filters_choose_what_they_choose_for_the_sdk(api: Api, sdk: wandb.Api, filters: dict):
    runs = api.runs(PROJECT, filters)
    found = [run.id async for run in runs]
    # What only the web application understands, the SDK sends as it is.
    stored = json.loads(filter_text(filters))
    assert found == [run.id for run in sdk.runs(PROJECT, stored)]
    assert (await runs.total(), runs.given) == (len(found), len(found))


@pytest.mark.parametrize(
    ("order", "sent"),
    [
        ("+created_at", "+created_at"),
        ("-createdAt", "-created_at"),
        ("created_at", "+created_at"),
        ("-summary.loss", "-summary_metrics.loss"),
        ("+config.lr", "+config.lr.value"),
        ("-config.lr.value", "-config.lr.value"),
        ("-heartbeat_at", "-heartbeat_at"),
        ("+name", "+name"),
    ],
)
async def test_orders_have_one_spelling_on_the_wire(api: Api, sdk: wandb.Api, order: str, sent: str):
    assert order_text(order) == sent
    assert [run.id async for run in api.runs(PROJECT, order=order)] == [
        run.id for run in sdk.runs(PROJECT, order=sent)
    ]


async def test_the_default_order_is_that_of_creation(api: Api):
    assert [run.id async for run in api.runs(PROJECT)] == ["everything", "failed", "empty"]


@pytest.mark.parametrize("per_page", [1, 2, 3, 50])
async def test_pages_of_any_size_give_every_run_once(api: Api, per_page: int):
    runs = api.runs(PROJECT, per_page=per_page)
    assert [run.id async for run in runs] == ["everything", "failed", "empty"]
    assert runs.given == 3


async def test_nothing_is_asked_before_somebody_looks(api: Api, filled: RunningSandbox):
    before = filled.counters()["POST /graphql"]
    runs = api.runs(PROJECT, per_page=1)
    assert filled.counters()["POST /graphql"] == before
    assert (await runs.first()) is not None
    assert filled.counters()["POST /graphql"] == before + 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"filters": "state=finished"},
        {"filters": {"$or": {"state": "finished"}}},
        {"filters": {"state": object()}},
        {"order": ""},
        {"order": "+"},
        {"per_page": 0},
        {"path": "a/b/c"},
    ],
)
async def test_what_makes_no_sense_is_refused_at_once(api: Api, wrong: dict):
    with pytest.raises(engine.ConfigError):
        api.runs(**{"path": PROJECT, **wrong})


async def test_a_project_that_is_not_there(api: Api):
    runs = api.runs(f"{ENTITY}/nothing")
    with pytest.raises(engine.CommError, match="not there"):
        [run async for run in runs]
    with pytest.raises(engine.NotFound):
        await runs.total()


async def test_an_operator_that_the_server_does_not_know_is_an_error(api: Api):
    with pytest.raises(engine.CommError, match="operator") as caught:
        [run async for run in api.runs(PROJECT, {"state": {"$near": 1}})]
    assert caught.value.status == 400


async def test_projects_are_listed(api: Api, sdk: wandb.Api):
    ours = [project.namespace.project for project in await api.projects(ENTITY)]
    assert sorted(ours) == sorted(project.name for project in sdk.projects(ENTITY))


async def test_whole_histories_of_all_runs_in_order(api: Api):
    found = [(run.id, len(table)) async for run, table in api.runs(f"{ENTITY}/other").histories(at_once=2)]
    assert found == [("long", 1_300), ("resumed", 2)]


async def test_histories_may_be_left(api: Api):
    """Readings that were under way are ended with the loop."""
    before = asyncio.all_tasks()
    async with aclosing(api.runs(f"{ENTITY}/other").histories()) as histories:
        async for run, _ in histories:
            assert run.id == "long"
            break
    assert asyncio.all_tasks() == before


async def test_samples_of_all_histories(api: Api, sdk: wandb.Api):
    ours = await api.runs(f"{ENTITY}/other").samples(10, ["_runtime"])
    theirs = sdk.runs(f"{ENTITY}/other").histories(samples=10, keys=["_runtime"])
    assert ours == theirs


_LISTING = """
import asyncio, os, sys
import engine

async def main():
    async with engine.Api() as api:
        print(len([run.config async for run in api.runs(sys.argv[1])]))

asyncio.run(main())
slow = {"pyarrow", "numpy", "pandas", "sqlalchemy", "yaml", "mlflow", "graphql", "engine.wandb.destination"}
print(sorted(slow & {*sys.modules}))
"""


def test_a_list_of_runs_loads_nothing_that_it_has_no_use_for(filled: RunningSandbox):
    """It takes longer to load Arrow and numpy than to list a thousand runs."""
    environ = {**os.environ, "WANDB_BASE_URL": filled.url, "WANDB_API_KEY": filled.api_key}
    done = subprocess.run(
        [sys.executable, "-c", _LISTING, PROJECT], env=environ, capture_output=True, text=True, check=True
    )
    listed, loaded = done.stdout.splitlines()
    assert int(listed) > 0
    assert loaded == "[]"
