"""Histories: samples that say so, and the whole."""

from __future__ import annotations

import json
import math

import pyarrow as pa
import pytest
import wandb

import engine
from engine.wandb.api import Api
from engine.wandb.api.collecting import TableBuilder
from tests.servers import RunningSandbox
from tests.wandb import raw
from tests.wandb.conftest import ENTITY

pytestmark = pytest.mark.anyio

RUN = f"{ENTITY}/trained/everything"
LONG = f"{ENTITY}/other/long"


async def test_a_sample_is_what_the_sdk_calls_history_and_says_that_it_is_one(api: Api, sdk: wandb.Api):
    ours, theirs = await (await api.run(LONG)).history(), sdk.run(LONG).history()
    assert ours.equals(theirs[ours.columns])
    assert ours.attrs == {"sampled": True, "rows": 500, "requested": 500, "rows_of_run": 1_300}


async def test_a_sample_of_keys(api: Api, sdk: wandb.Api):
    ours = await (await api.run(LONG)).history(keys=["y"], samples=100)
    theirs = sdk.run(LONG).history(keys=["y"], samples=100)
    assert ours.equals(theirs[ours.columns])
    assert set(ours.columns) == {"_step", "y"}


@pytest.mark.parametrize("stream", ["events", "system"])
async def test_system_metrics_are_a_stream_of_their_own(api: Api, sdk: wandb.Api, stream: str):
    run = await api.run(RUN)
    ours = await run.history(stream=stream, pandas=False)
    assert ours
    assert list(ours) == sdk.run(RUN).history(stream="events", pandas=False)
    assert [row async for row in run.scan_system_metrics()] == list(ours)


@pytest.mark.parametrize(
    "wrong",
    [
        {"keys": "loss"},
        {"keys": [1]},
        {"samples": 0},
        {"stream": "none"},
        {"stream": "events", "keys": ["x"]},
    ],
)
async def test_bad_input_raises(api: Api, wrong: dict):
    """The SDK prints an error and returns an empty list (E28)."""
    with pytest.raises(engine.ConfigError):
        await (await api.run(RUN)).history(**wrong)


async def test_a_scan_gives_every_row(api: Api, sdk: wandb.Api):
    rows = [row async for row in (await api.run(LONG)).scan_history()]
    assert rows == list(sdk.run(LONG).scan_history())
    assert len(rows) == 1_300


async def test_a_scan_gives_values_as_they_were_logged(api: Api):
    """NaN and infinities are numbers, not texts (E34)."""
    rows = [row async for row in (await api.run(RUN)).scan_history()]
    bad = next(row for row in rows if "bad" in row)
    assert math.isnan(bad["bad"])
    assert (bad["high"], bad["low"]) == (math.inf, -math.inf)
    assert next(row for row in rows if "text" in row)["text"] == "line\nline"


async def test_a_scan_of_keys_takes_rows_with_any_of_them(api: Api, sdk: wandb.Api):
    """The SDK drops every row that lacks one of the keys (E31); ``require_all`` does the same."""
    run = await api.run(RUN)
    some = [row async for row in run.scan_history(["loss", "val/accuracy"])]
    assert [set(row) for row in some] == [{"_step", "loss"}] * 12 + [{"_step", "val/accuracy"}]
    both = [row async for row in run.scan_history(["loss", "n"], require_all=True)]
    assert both == list(sdk.run(RUN).scan_history(keys=["loss", "n"]))
    assert len(both) == 12


async def test_a_scan_of_nested_keys(api: Api):
    found = [row async for row in (await api.run(RUN)).scan_history(["nested.deep.y", "dotted.key"])]
    assert found[:2] == [{"_step": 0, "nested.deep.y": 0}, {"_step": 1, "nested.deep.y": -1}]
    assert found[-1] == {"_step": 200, "dotted.key": 1}


async def test_a_scan_of_steps(api: Api, sdk: wandb.Api):
    steps = [row["_step"] async for row in (await api.run(LONG)).scan_history(min_step=1_000, max_step=1_003)]
    assert steps == [1_000, 1_001, 1_002]
    assert steps == [row["_step"] for row in sdk.run(LONG).scan_history(min_step=1_000, max_step=1_003)]
    with pytest.raises(engine.ConfigError):
        [row async for row in (await api.run(LONG)).scan_history(min_step=5, max_step=3)]


async def test_a_history_table_is_the_whole_history_typed(api: Api):
    table = (await (await api.run(LONG)).history_table()).arrow
    assert table.num_rows == 1_300
    assert table.schema.field("_step").type == pa.int64()
    assert table.column("y").to_pylist() == [step / 7 for step in range(1_300)]


async def test_columns_that_are_no_plain_values_hold_json(api: Api):
    table = (await (await api.run(RUN)).history_table()).arrow
    nested = table.schema.field("nested")
    assert nested.metadata == {b"encoding": b"json"}
    assert json.loads(table.column("nested")[1].as_py()) == {"x": 1, "deep": {"y": -1}}


async def test_a_history_table_becomes_a_frame(api: Api):
    table = await (await api.run(LONG)).history_table(["y"])
    assert list(table.to_pandas()["y"]) == [step / 7 for step in range(1_300)]
    assert pa.table(table).equals(table.arrow)


async def test_a_run_without_history_has_an_empty_table(api: Api):
    table = await (await api.run(f"{ENTITY}/trained/empty")).history_table()
    assert (len(table), table.column_names) == (0, [])


@pytest.mark.parametrize(
    ("chunks", "type_", "values"),
    [
        ([[1, 2], [3]], pa.int64(), [1, 2, 3]),
        ([[1], [2.5]], pa.float64(), [1.0, 2.5]),
        ([[None], [True, None]], pa.bool_(), [None, True, None]),
        ([[2**53 + 1], [0.5]], pa.string(), ["9007199254740993", "0.5"]),
        ([[2**63], [1]], pa.string(), ["9223372036854775808", "1"]),
        ([["a"], [1]], pa.string(), ['"a"', "1"]),
        ([[1, "a"]], pa.string(), ["1", '"a"']),
        ([[{"x": 1}, None, [2]]], pa.string(), ['{"x": 1}', None, "[2]"]),
    ],
)
def test_a_column_has_the_narrowest_type_that_is_exact(chunks: list, type_: pa.DataType, values: list):
    builder = TableBuilder()
    for chunk in chunks:
        builder.add([{} if value is None else {"k": value} for value in chunk])
    table = builder.table().arrow
    assert table.schema.field("k").type == type_
    assert table.column("k").to_pylist() == values


@pytest.mark.parametrize(
    ("exported", "type_", "values"),
    [
        (pa.array([1, None], pa.int32()), pa.int64(), [1, None]),
        (pa.array([0.5, float("inf")], pa.float32()), pa.float64(), [0.5, float("inf")]),
        (pa.array(["a", "b"], pa.large_string()), pa.string(), ["a", "b"]),
        (pa.array(["a", "a"]).dictionary_encode(), pa.string(), ["a", "a"]),
        (pa.array([1, 2**64 - 1], pa.uint64()), pa.string(), ["1", "18446744073709551615"]),
        (pa.array([{"x": 1, "y": None}, None]), pa.string(), ['{"x": 1}', None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else None,
)
def test_exported_columns_have_the_same_types(exported: pa.Array, type_: pa.DataType, values: list):
    builder = TableBuilder()
    builder.add(pa.record_batch({"_step": [0, 1], "k": exported, "never": pa.nulls(2)}))
    builder.add([{"_step": 2}])
    table = builder.table().arrow
    assert table.schema.names == ["_step", "k"]
    assert table.schema.field("k").type == type_
    assert table.column("k").to_pylist() == [*values, None]


EXPORTED_ROWS = [
    {"_step": step, "loss": step / 3}
    | ({"n": step, "note": "odd"} if step % 2 else {})
    | ({"nested": {"deep": {"y": step}, "z": None}, "dotted.key": True} if step % 5 == 0 else {})
    for step in range(2_500)
]


@pytest.fixture(scope="module")
def partly_exported(filled: RunningSandbox) -> str:
    """A run of which the server has exported most rows, to two files."""
    raw.finished(filled, "tables", "exported", EXPORTED_ROWS[:2_200])
    raw.export_history(filled, "tables", "exported", 1_200)
    raw.stream(filled, "tables", "exported", EXPORTED_ROWS[2_200:], offset=2_200, complete=True, exitcode=0)
    return f"{ENTITY}/tables/exported"


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"keys": ["loss"]},
        {"keys": ["n", "dotted.key"]},
        {"keys": ["n", "dotted.key"], "require_all": True},
        {"keys": ["n", "nobody"], "require_all": True},
        {"keys": ["nobody"]},
        {"keys": ["nested.deep.y", "note"]},
        {"keys": ["nested"]},
        {"keys": ["_step", "note"], "require_all": True},
    ],
    ids=str,
)
async def test_a_table_of_exported_rows_has_what_a_scan_gives(api: Api, partly_exported: str, chosen: dict):
    """They come as Arrow, the others as Python objects."""
    run = await api.run(partly_exported)
    builder = TableBuilder()
    builder.add([row async for row in run.scan_history(**chosen)])
    wanted, found = builder.table().arrow, (await run.history_table(**chosen)).arrow
    assert found.num_rows == wanted.num_rows
    assert set(found.schema.names) == set(wanted.schema.names)
    assert found.select(wanted.schema.names).equals(wanted)


def test_a_key_that_comes_late_or_goes_early_has_gaps():
    builder = TableBuilder()
    for row in ({"a": 1}, {"b": "x"}, {"a": 2, "b": "y"}):
        builder.add([row])
    assert builder.table().arrow.to_pylist() == [
        {"a": 1, "b": None},
        {"a": None, "b": "x"},
        {"a": 2, "b": "y"},
    ]
