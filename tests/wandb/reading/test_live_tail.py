"""Rows that a server has exported and rows that it has not are one history, however their steps lie."""

from __future__ import annotations

import math
from typing import Any

import pytest
import wandb

from engine.errors import IntegrityError
from engine.transfer.context import Context
from engine.wandb import WandbSource
from tests.servers import RunningSandbox
from tests.wandb import raw
from tests.wandb.conftest import ENTITY
from tests.wandb.reading.conftest import rows_of

pytestmark = pytest.mark.anyio


def rows_at(steps: range, key: str) -> list[dict[str, Any]]:
    return [{"_step": step, key: step / 4} for step in steps]


def written(
    server: RunningSandbox, project: str, exported: list[dict[str, Any]], live: list[dict[str, Any]]
) -> None:
    raw.finished(server, project, "r", exported)
    raw.export_history(server, project, "r", 700)
    raw.stream(server, project, "r", live, offset=len(exported), complete=True, exitcode=0)


@pytest.mark.parametrize(
    ("exported", "live"),
    [
        (range(3_000), range(2_990, 3_400)),
        (range(0, 6_000, 2), range(1, 6_000, 20)),
        (range(3_000, 6_000), range(3_000)),
        (range(1_000, 4_000), range(5_000)),
    ],
    ids=["a-few-steps", "between-the-others", "all-before", "around"],
)
async def test_live_rows_may_have_steps_of_exported_ones(
    source: WandbSource,
    sandbox: RunningSandbox,
    context: Context,
    api: wandb.Api,
    project: str,
    exported: range,
    live: range,
) -> None:
    """As of several processes that write to one run; rows of one step stay apart, as the SDK has them."""
    written(sandbox, project, rows_at(exported, "x"), rows_at(live, "y"))
    rows = rows_at(exported, "x") + rows_at(live, "y")
    found = await rows_of(source, project, "r")
    assert found == sorted(rows, key=lambda row: row["_step"])  # which leaves exported rows first
    told = api.run(f"{ENTITY}/{project}/r").history(samples=20_000, pandas=False)
    assert found == sorted(told, key=lambda row: row["_step"])
    assert not context.losses.counts


async def test_a_row_that_is_both_exported_and_live_comes_once(
    source: WandbSource, sandbox: RunningSandbox, project: str
) -> None:
    rows: list[dict[str, Any]] = [
        {**row, "n": math.nan, "deep": {"z": 1}} for row in rows_at(range(3_000), "x")
    ]
    written(sandbox, project, rows, rows[-5:])
    assert repr(await rows_of(source, project, "r")) == repr(rows)


async def test_rows_that_are_missing_among_both_fail_the_history(
    source: WandbSource, sandbox: RunningSandbox, project: str
) -> None:
    written(sandbox, project, rows_at(range(3_000), "x"), [*rows_at(range(2_990, 3_010), "y"), {"z": 1}])
    with pytest.raises(IntegrityError, match="counts 3021 rows and gave 3020"):
        await rows_of(source, project, "r")
