"""What is told of runs that are not as runs usually are."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from engine.records import Namespace
from engine.wandb.api import Api
from engine.wandb.api.fields import RunFields
from tests.wandb.conftest import ENTITY

pytestmark = pytest.mark.anyio

NODE: dict[str, Any] = {
    "id": "x",
    "name": "r",
    "state": "finished",
    "createdAt": "2020-01-02T03:04:05",
    "heartbeatAt": "2020-01-02T04:04:05Z",
    "config": None,
    "summaryMetrics": None,
}


def run(**changes: Any) -> RunFields:
    return RunFields({**NODE, **changes}, Namespace("e", "p"), "https://api.wandb.ai")


def test_a_run_whose_user_is_gone():
    """In the SDK one such run makes ``list(api.runs())`` empty (E12)."""
    assert run(user=None).user is None
    assert run(user=None).record.user is None


def test_times_have_a_zone():
    """Older servers leave out that it is UTC (E22)."""
    assert run().created_at == "2020-01-02T03:04:05Z"
    assert run().ended_at == run().heartbeat_at == "2020-01-02T04:04:05Z"
    assert run(state="running").ended_at is None


def test_a_summary_may_have_any_keys():
    """The SDK cannot list one with spaces around a key (E20)."""
    found = run(summaryMetrics='{" a ": 1, "b": NaN}').summary
    assert found[" a "] == 1
    assert found["b"] != found["b"]


def test_nothing_is_an_empty_config_and_summary():
    assert (run().config, run().summary, run().tags, run().json_config) == ({}, {}, [], "{}")


def test_an_address_is_that_of_the_page():
    assert run().url == "https://wandb.ai/e/p/runs/r"


async def test_listing_makes_no_folders(api: Api):
    """The SDK makes one for each run (E15)."""
    before = set(Path(tempfile.gettempdir()).iterdir())
    assert len([run async for run in api.runs(f"{ENTITY}/trained")]) == 3
    made = set(Path(tempfile.gettempdir()).iterdir()) - before
    assert not [path for path in made if any(name in path.name for name in ("everything", "failed", "empty"))]
