"""No metric point is lost on its way into history rows."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.wandb.history.points import PointStore
from engine.wandb.history.rows import LINE_LIMIT, Layout, RowEncoder, RowSequence, encode_row, layout_of
from tests.memory import Point, points

INTERNAL = {"_step", "_timestamp", "_runtime"}

ordinary_keys = st.sampled_from(
    ["a", "b", "c", "loss/ünï", "", "_step", "mlflow/step", "mlflow/_step", "null"]
)
steps = st.one_of(st.integers(0, 6), st.integers(-3, 6), st.sampled_from([2**53, 2**62, -(2**62)]))
times = st.one_of(st.integers(0, 5), st.integers(0, 10**13), st.just(-1))
values = st.one_of(st.floats(width=64), st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 1e-320]))
histories = st.lists(st.tuples(ordinary_keys, steps, times, values), max_size=60)


def encode(
    spool: Path, history: Sequence[Point], *, buffer: int = 10**6, window: int = 10**6, batch: int = 7
) -> tuple[list[dict[str, Any]], Layout, RowEncoder]:
    with PointStore(spool, buffer=buffer) as store:
        for start in range(0, len(history), batch):
            store.add(points(history[start : start + batch]).batch)
            if store.is_full:
                store.spill()
        layout = layout_of(store, "mlflow", window=window)
        encoder = RowEncoder(store, layout, started_at=1_000)
        rows: list[dict[str, Any]] = []
        counted = 0
        for lines in encoder.lines(window=window):
            rows.extend(json.loads(line) for line in lines.lines)
            counted += sum(lines.points)
        assert counted == len(history)
    assert not list(spool.iterdir())
    return rows, layout, encoder


def comparable(value: float) -> Any:
    return "NaN" if math.isnan(value) else (value, math.copysign(1, value))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(histories, st.integers(1, 20), st.integers(1, 20))
def test_every_point_comes_out_exactly_once(tmp_path: Path, history: list[Point], buffer: int, window: int):
    """For any points in any order, and whatever had to be spilled, each (key, step, value) is in one row."""
    rows, layout, encoder = encode(tmp_path, history, buffer=buffer, window=window)
    original = {new: old for old, new in layout.renamed.items()}
    step_of = layout.step_column or "_step"
    came = Counter(
        (original.get(key, key), row[step_of], comparable(value))
        for row in rows
        for key, value in row.items()
        if key not in INTERNAL and key != layout.step_column
    )
    assert came == Counter((key, step, comparable(value)) for key, step, _, value in history)

    numbers = [row["_step"] for row in rows]
    assert numbers == sorted(set(numbers))
    assert [row[step_of] for row in rows] == sorted(row[step_of] for row in rows)
    if layout.step_column:
        assert numbers == list(range(len(rows)))
    # A row has the time of its latest point, which is the time of some point of its step.
    for row in rows:
        at_step = [time for _, step, time, _ in history if step == row[step_of]]
        assert round(row["_timestamp"] * 1000) in at_step
        assert row["_runtime"] == max(0, round(row["_timestamp"] * 1000) - 1_000) / 1000
    assert not rows or encoder.last.step == numbers[-1]

    rows_in_memory, layout_in_memory, _ = encode(tmp_path, history)
    assert repr(rows_in_memory) == repr(rows)
    assert layout_in_memory == layout


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(histories)
def test_the_latest_value_of_a_key_is_that_of_its_last_step_and_time(tmp_path: Path, history: list[Point]):
    _, layout, encoder = encode(tmp_path, history, buffer=5, window=4)
    expected: dict[str, float] = {}
    for key, _, _, value in sorted(history, key=lambda point: (point[1], point[2])):
        expected[layout.renamed.get(key, key)] = value
    assert repr(sorted(encoder.latest().items())) == repr(sorted(expected.items()))


def test_points_of_one_step_share_a_row(tmp_path: Path):
    history = [("acc", 1, 30, 0.5), ("loss", 0, 10, 2.0), ("loss", 1, 40, 1.0), ("acc", 0, 20, 0.25)]
    rows, layout, _ = encode(tmp_path, history)
    assert layout.step_column is None
    assert rows == [
        {"_step": 0, "_timestamp": 0.02, "_runtime": 0.0, "loss": 2.0, "acc": 0.25},
        {"_step": 1, "_timestamp": 0.04, "_runtime": 0.0, "acc": 0.5, "loss": 1.0},
    ]


def test_several_values_on_one_step_make_rows_in_order_of_time(tmp_path: Path):
    history = [("loss", 0, 3, 3.0), ("loss", 0, 1, 1.0), ("acc", 0, 1, 9.0), ("loss", 0, 2, 2.0)]
    rows, layout, _ = encode(tmp_path, history)
    assert layout.step_column == "mlflow/step"
    assert layout.reasons == ("several values of a key on one step",)
    assert [(row["_step"], row["loss"], row.get("acc"), row["mlflow/step"]) for row in rows] == [
        (0, 1.0, 9.0, 0),
        (1, 2.0, None, 0),
        (2, 3.0, None, 0),
    ]


def test_exact_repeats_are_all_kept(tmp_path: Path):
    rows, _, _ = encode(tmp_path, [("loss", 0, 5, 1.0)] * 3)
    assert len(rows) == 3


def test_a_single_moment_may_fill_many_windows(tmp_path: Path):
    history = [("loss", 0, 5, float(n)) for n in range(500)]
    rows, _, _ = encode(tmp_path, history, buffer=40, window=8)
    assert [row["loss"] for row in rows] == [float(n) for n in range(500)]


def test_a_step_with_more_keys_than_a_line_can_hold_is_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engine.wandb.history.rows.LINE_LIMIT", 1024 + 10 * 45)
    history = [(f"key{n:04}", 0, 5, float(n)) for n in range(35)]
    rows, layout, _ = encode(tmp_path, history)
    assert layout.step_column is not None
    assert sorted(value for row in rows for key, value in row.items() if key.startswith("key")) == [
        float(n) for n in range(35)
    ]
    assert max(len(json.dumps(row)) for row in rows) <= 1024 + 10 * 45


def test_time_differences_within_a_row_count_beyond_a_second(tmp_path: Path):
    history = [("a", 0, 0, 1.0), ("b", 0, 1_000, 1.0), ("c", 0, 1_001, 1.0)]
    _, _, encoder = encode(tmp_path, history)
    assert encoder.merged_points == 1


@pytest.mark.parametrize(
    "row",
    [
        {"a": math.nan, "b": math.inf, "c": -math.inf},
        {"text": "null NaN", "none": None},
        {"deep": {"list": [1, math.nan, {"x": -math.inf}]}},
        {"big": 2**80, "small": 5e-324},
        {"surrogate": "\ud800"},
    ],
)
def test_a_line_parses_to_the_row_that_it_came_from(row: dict[str, Any]):
    assert repr(json.loads(encode_row(row))) == repr(row)


def test_wide_rows_keep_what_they_are(tmp_path: Path):
    sequence = RowSequence(step_column="wandb/step")
    rows = [
        {"_step": 3, "_timestamp": 5.5, "_runtime": 1.5, "x": {"y": 1}},
        {"_step": 9, "img": {"_type": "x"}},
    ]
    assert [json.loads(sequence.line(row)[0]) for row in rows] == rows
    assert sequence.resequenced == 0


def test_wide_rows_whose_step_goes_back_are_numbered_on(tmp_path: Path):
    sequence = RowSequence(step_column="wandb/step")
    rows: list[dict[str, Any]] = [
        {"_step": 3, "x": 1},
        {"_step": 3, "x": 2},
        {"x": 3},
        {"_step": "4", "x": 4},
        {"_step": 9, "x": 5},
    ]
    out = [json.loads(sequence.line(row)[0]) for row in rows]
    assert [(row["_step"], row.get("wandb/step"), row["x"]) for row in out] == [
        (3, None, 1),
        (4, 3, 2),
        (5, None, 3),
        (6, "4", 4),
        (9, None, 5),
    ]
    assert sequence.resequenced == 3


def test_the_line_limit_is_the_one_of_the_protocol():
    assert LINE_LIMIT == 10_383_360


@pytest.mark.slow
@pytest.mark.parametrize("mode", [[], ["--repeat-steps"]])
def test_ten_million_points_pass_in_bounded_memory(mode: list[str]):
    script = Path(__file__).parents[3] / "benchmarks" / "encode_history.py"
    done = subprocess.run(
        [sys.executable, str(script), "--points", "10000000", *mode],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"peak memory (\d+) MiB, of which (\d+) MiB before", done.stdout)
    assert found, done.stdout
    assert int(found[1]) - int(found[2]) < 200
