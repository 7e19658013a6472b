"""Every row that was logged comes, once, in order, at a cost that goes by the rows and not by the steps."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
import wandb
from aiohttp import web
from aiohttp.typedefs import Handler

from engine.errors import IntegrityError
from engine.protocols import SystemOptions
from engine.transfer.context import Context
from engine.wandb import WandbSource
from tests.servers import RunningSandbox, running_sandbox
from tests.wandb import raw
from tests.wandb.conftest import ENTITY
from tests.wandb.reading.conftest import rows_of

pytestmark = pytest.mark.anyio

HISTOGRAM = {"_type": "histogram", "values": [1, 2], "bins": [0.5, 1.5, 2.5]}


def rows_at(steps: Sequence[int]) -> list[dict[str, Any]]:
    return [{"_step": step, "_timestamp": 1e9 + n, "x": n / 3} for n, step in enumerate(steps)]


async def test_values_come_exactly_as_they_were_logged(
    source: WandbSource, sandbox: RunningSandbox, project: str
) -> None:
    rows: list[dict[str, Any]] = [
        {"_step": 0, "a": math.nan, "b": math.inf, "c": -math.inf, "d": None, "e": "NaN", "f": -0.0},
        {"_step": 1, "big": 2**70 + 1, "n": 2**63, "nested": {"x": {"y": 1}, "n": None}, "a.b": 1},
        {"_step": 2, "histogram": HISTOGRAM, "list": [1, None, {"k": []}], "empty": {}, "": "no name"},
        {"_step": 3, "text": "ünï\n\u2028😀", "bool": True, "tiny": 5e-324},
    ]
    raw.finished(sandbox, project, "r", rows)
    assert repr(await rows_of(source, project, "r")) == repr(rows)


@pytest.mark.parametrize(
    ("name", "steps", "most"),
    [
        ("dense", range(4_000), 5),
        ("every-hundredth", range(0, 400_000, 100), 8),
        ("epoch-seconds", [1_700_000_000 + 30 * n for n in range(4_000)], 30),
        ("two-clusters", [*range(2_000), *range(10**9, 10**9 + 2_000)], 40),
        ("one-far-away", [*range(2_500), 2**53 - 1], 60),
        ("many-at-one-step", [0, *[1] * 2_500, 2], 8),
    ],
)
async def test_requests_go_by_the_rows_and_not_by_the_steps(
    source: WandbSource,
    sandbox: RunningSandbox,
    context: Context,
    project: str,
    name: str,
    steps: Sequence[int],
    most: int,
) -> None:
    rows = rows_at(steps)
    raw.finished(sandbox, project, name, rows)
    before = context.counters.requests
    assert await rows_of(source, project, name) == rows
    assert context.counters.requests - before <= most
    assert not context.losses.counts


async def test_a_small_history_is_one_request_and_an_empty_one_none(
    source: WandbSource, sandbox: RunningSandbox, context: Context, project: str
) -> None:
    raw.finished(sandbox, project, "small", rows_at(range(10)))
    raw.finished(sandbox, project, "empty", [])
    for run, cost in (("small", 1), ("empty", 0)):
        before = context.counters.requests
        await rows_of(source, project, run)
        assert context.counters.requests - before == 1 + cost  # one for the run itself


async def test_a_row_without_a_step_stays_where_it_was(
    source: WandbSource, sandbox: RunningSandbox, project: str
) -> None:
    rows = [{"_step": 5, "x": 1}, {"x": 2}, {"_step": 6, "x": 3}]
    raw.finished(sandbox, project, "r", rows)
    assert await rows_of(source, project, "r") == rows


@pytest.mark.parametrize("files_of", [100, 700, 5_000])
async def test_exported_rows_and_the_live_tail_are_one_history(
    source: WandbSource, sandbox: RunningSandbox, project: str, files_of: int
) -> None:
    rows: list[dict[str, Any]] = [
        {**row, "when": {"odd": row["_step"] % 2, "note": "x" * (row["_step"] % 3)}}
        for row in rows_at(range(3_000))
    ]
    rows[700]["late"] = math.nan
    raw.finished(sandbox, project, "r", rows[:2_400])
    raw.export_history(sandbox, project, "r", files_of)
    assert repr(await rows_of(source, project, "r")) == repr(rows[:2_400])
    raw.stream(sandbox, project, "r", rows[2_400:], offset=2_400, complete=True, exitcode=0)
    assert repr(await rows_of(source, project, "r")) == repr(rows)


async def test_exported_rows_are_those_that_the_sdk_reads(
    source: WandbSource, sandbox: RunningSandbox, api: wandb.Api, project: str
) -> None:
    rows = [{**row, "note": "a" if row["_step"] % 7 else None} for row in rows_at(range(0, 5_000, 2))]
    rows = [{key: value for key, value in row.items() if value is not None} for row in rows]
    raw.finished(sandbox, project, "r", rows[:2_100])
    assert raw.export_history(sandbox, project, "r", 700) == 3
    raw.stream(sandbox, project, "r", rows[2_100:], offset=2_100, complete=True, exitcode=0)
    told = list(api.run(f"{ENTITY}/{project}/r").scan_history(page_size=10_000, use_cache=False))
    assert [{key: value for key, value in row.items() if value is not None} for row in told] == rows
    assert await rows_of(source, project, "r") == rows


async def test_large_exports_go_through_the_spool_and_leave_nothing_there(
    source: WandbSource, sandbox: RunningSandbox, context: Context, project: str
) -> None:
    noise = random.Random(0)
    rows = [{"_step": step, "text": noise.randbytes(400).hex()} for step in range(4_000)]
    raw.finished(sandbox, project, "r", rows)
    assert raw.export_history(sandbox, project, "r", 10_000) == 1
    assert await rows_of(source, project, "r") == rows
    assert list(context.spool.iterdir()) == []


@pytest.mark.parametrize("broken_times", [1, 5])
async def test_a_broken_export_is_fetched_again_and_then_fails_the_history(
    context: Context, tmp_path_factory: pytest.TempPathFactory, broken_times: int
) -> None:
    left = broken_times

    async def broken(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal left
        if "/history/" not in request.path or not left:
            return await handler(request)
        left -= 1
        return web.Response(body=b"")

    with running_sandbox(tmp_path_factory.mktemp("broken"), intercept=broken) as server:
        rows = rows_at(range(2_500))
        raw.finished(server, "p", "r", rows)
        raw.export_history(server, "p", "r")
        opened = WandbSource(f"{server.url}/{ENTITY}", SystemOptions(api_key=server.api_key))
        async with opened.open(context):
            if broken_times == 1:
                assert await rows_of(opened, "p", "r") == rows
            else:
                with pytest.raises(IntegrityError, match="exported rows cannot be read"):
                    await rows_of(opened, "p", "r")


async def test_rows_that_the_server_counts_and_does_not_give_fail_the_history(
    source: WandbSource, sandbox: RunningSandbox, project: str
) -> None:
    raw.finished(sandbox, project, "r", [*rows_at(range(2_500)), {"x": "without a step"}])
    with pytest.raises(IntegrityError, match="counts 2501 rows and gave 2500"):
        await rows_of(source, project, "r")


async def test_a_small_history_that_is_counted_larger_fails_too(
    source: WandbSource, sandbox: RunningSandbox, project: str
) -> None:
    """As of a server that lost its first lines: the number of the last one is all that is left of them."""
    raw.upsert(sandbox, project, "r")
    raw.stream(sandbox, project, "r", rows_at(range(5, 9)), offset=5, complete=True, exitcode=0)
    with pytest.raises(IntegrityError, match="counts 9 rows and gave 4"):
        await rows_of(source, project, "r")


async def test_what_it_gives_can_be_accepted(sandbox: RunningSandbox, context: Context, project: str) -> None:
    raw.finished(sandbox, project, "r", [*rows_at(range(2_500)), {"x": "without a step"}])
    context.accepted = frozenset({"history_rows_missing"})
    source = WandbSource(f"{sandbox.url}/{ENTITY}", SystemOptions(api_key=sandbox.api_key))
    async with source.open(context):
        assert await rows_of(source, project, "r") == rows_at(range(2_500))
    assert context.losses.counts == {"history_rows_missing": 1}
