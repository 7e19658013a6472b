"""Rows that are taken by column hold what they hold one by one."""

from __future__ import annotations

from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from engine.records import HistoryRows
from engine.verify import histories
from engine.verify.histories import History

NUMBERS = st.floats() | st.integers(-(2**54), 2**54)
SECONDS = st.floats(0, 2e9) | st.integers(0, 2**31) | st.sampled_from([0, 0.0, 0.0001, 2.0**43, float("nan")])
COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "_step": st.integers(0, 30),
    "_timestamp": SECONDS,
    "_runtime": SECONDS,
    "_wandb": st.just({}),
    "own step": st.integers(0, 30),
    "loss": NUMBERS,
    "count": st.integers(-(2**54), 2**54),
    "odd": NUMBERS | st.none() | st.text(max_size=2) | st.booleans(),
}


@st.composite
def chunks(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """Some chunks of rows, each with keys of its own; most often with steps that rise."""
    return [
        draw(st.lists(st.fixed_dictionaries({key: COLUMNS[key] for key in keys}), max_size=6))
        for keys in draw(st.lists(st.sets(st.sampled_from(sorted(COLUMNS))), max_size=3))
    ]


def taken(rows: list[list[dict[str, Any]]], step_column: str | None) -> History:
    history = History(step_column)
    for chunk in rows:
        history.add(HistoryRows(first=0, rows=chunk))
    return history


@given(chunks(), st.sampled_from([None, "own step"]))
def test_columns_are_rows(rows: list[list[dict[str, Any]]], step_column: str | None):
    by_column = taken(rows, step_column)
    with mock.patch.object(histories, "by_key", return_value=None):
        one_by_one = taken(rows, step_column)
    assert list(by_column.leaves()) == list(one_by_one.leaves())
    assert by_column.rows == one_by_one.rows


def test_what_most_rows_are_is_taken_by_column():
    rows = [
        {"_step": step, "_timestamp": 1.5 + step, "_runtime": 0.5, "loss": 0.1 * step} for step in range(3)
    ]
    with mock.patch.object(History, "_add_each", side_effect=AssertionError):
        assert taken([rows], None).points.points == 3
