"""What becomes of a history, as W&B's own client reads it back."""

from __future__ import annotations

import math
from typing import Any

import pytest
import wandb

from engine.transfer.context import Context
from tests.wandb.conftest import Opened
from tests.wandb.making import START, a_run, chunks, wide, write

pytestmark = pytest.mark.anyio


async def test_every_point_of_a_history_is_read_back(opened: Opened, api: wandb.Api):
    history = [
        (key, step * 3, START + step * 1_000, step / 7) for key in ("loss", "val/acc") for step in range(500)
    ]
    history += [("loss", 1501, START + 5, math.nan), ("odd", 1501, START + 6, math.inf)]
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(), history)
    read = api.run(f"{namespace.path}/{a_run().id}")
    came = [
        (key, row["_step"], float(row[key]))
        for row in read.scan_history()
        for key in ("loss", "val/acc", "odd")
        if key in row
    ]
    assert sorted(map(repr, came)) == sorted(repr((key, step, value)) for key, step, _, value in history)
    assert math.isnan(read.summary["loss"])
    assert read.summary["val/acc"] == 499 / 7
    assert read.summary["_step"] == 1501
    rows = {row["_step"]: row for row in read.scan_history()}
    assert rows[3]["_timestamp"] == (START + 1_000) / 1000
    assert rows[3]["_runtime"] == 1.0


async def test_values_that_share_a_step_are_all_kept_and_the_step_is_the_axis(
    opened: Opened, api: wandb.Api, context: Context
):
    history = [("loss", -2, START, 0.5), ("loss", 5, START + 2, 2.0), ("loss", 5, START + 1, 1.0)]
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(), history)
    read = api.run(f"{namespace.path}/{a_run().id}")
    rows = [(row["_step"], row["mlflow/step"], row["loss"]) for row in read.scan_history()]
    assert rows == [(0, -2, 0.5), (1, 5, 1.0), (2, 5, 2.0)]
    assert read.config["_import"]["history"]["mode"] == "sequence"
    assert read.config["_import"]["history"]["reasons"] == [
        "negative steps",
        "several values of a key on one step",
    ]
    definitions = read.rawconfig["_wandb"]["value"]["m"] if "value" in read.rawconfig["_wandb"] else None
    definitions = definitions or read.rawconfig["_wandb"]["m"]
    assert [definition.get("2") for definition in definitions] == [None, "*"]
    assert context.losses.counts["steps_resequenced"] == 3


async def test_metrics_that_shadow_internals_are_renamed_and_kept(opened: Opened, api: wandb.Api):
    history = [("_step", 0, START, 7.0), ("_timestamp", 0, START, 8.0), ("loss", 0, START, 9.0)]
    async with opened() as (destination, namespace):
        await write(destination, namespace, a_run(summary={"_step": 7.0, "loss": 9.0}), history)
    read = api.run(f"{namespace.path}/{a_run().id}")
    (row,) = read.scan_history()
    assert (row["_step"], row["mlflow/_step"], row["mlflow/_timestamp"], row["loss"]) == (0, 7, 8, 9)
    assert (read.summary["_step"], read.summary["mlflow/_step"]) == (0, 7)


async def test_wide_rows_pass_unchanged(opened: Opened, api: wandb.Api):
    rows = [
        {"_step": 2, "_timestamp": 1.7e9, "_runtime": 0.5, "nested": {"a": 1}, "text": "x"},
        {"_step": 4, "_timestamp": 1.7e9 + 1, "_runtime": 1.5, "h": {"_type": "histogram", "values": [1]}},
    ]
    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        receipt = await writer.write_history(wide(rows))
        await writer.finish()
    assert receipt.rows == 2
    assert list(api.run(f"{namespace.path}/{a_run().id}").scan_history()) == rows


async def test_a_long_history_goes_in_several_requests(
    opened: Opened, api: wandb.Api, context: Context, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.wandb.history.filestream.REQUEST_LIMIT", 20_000)
    monkeypatch.setattr("engine.wandb.history.filestream.KEEP_BACK", 5_000)
    monkeypatch.setattr("engine.wandb.runs.writer.INLINE_POINTS", 10)
    history = [(f"key{k}", step, START + step, float(step)) for step in range(600) for k in range(5)]
    async with opened() as (destination, namespace):
        before = context.counters.requests
        for _ in range(2):
            await write(destination, namespace, a_run(), history)
        assert context.counters.requests - before > 10
    rows = list(api.run(f"{namespace.path}/{a_run().id}").scan_history())
    assert [row["_step"] for row in rows] == list(range(600))
    assert context.counters.points == 2 * len(history)
    assert context.counters.rows == 2 * 600


async def test_a_row_that_no_server_takes_is_left_out_and_told(
    opened: Opened, api: wandb.Api, context: Context
):
    rows: list[dict[str, Any]] = [
        {"_step": 0, "x": 1},
        {"_step": 1, "x": "y" * 10_400_000},
        {"_step": 2, "x": 3},
    ]
    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_history(wide(rows))
        await writer.finish()
    assert [row["_step"] for row in api.run(f"{namespace.path}/{a_run().id}").scan_history()] == [0, 2]
    assert context.losses.counts["row_too_long"] == 1


async def test_an_incomplete_run_stays_open(opened: Opened, api: wandb.Api):
    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_history(chunks([("loss", 0, START, 1.0)]))
        await writer.finish(complete=False)
    read = api.run(f"{namespace.path}/{a_run().id}")
    assert read.state == "running"
    assert len(list(read.scan_history())) == 1
