"""When two values are the same."""

from __future__ import annotations

import math
from typing import Any

import pytest

from engine.verify.values import ANYTHING, Facts, OneOf, differing_facts, metric, same, shown


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (math.nan, math.nan),
        ("a", "a"),
        ((1, 2), [1, 2]),
        ({"b": 1, "a": {"c": None}}, {"a": {"c": None}, "b": 1}),
        (OneOf(("killed", "failed")), "failed"),
        (2**70, 2**70),
    ],
)
def test_the_same(expected: Any, found: Any) -> None:
    assert same(expected, found)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (1, 1.0),
        (1, True),
        (1, "1"),
        (None, "null"),
        (None, 0),
        (math.nan, None),
        (math.nan, "NaN"),
        ("a", "a "),
        ("é", "e\u0301"),
        ([1, 2], [2, 1]),
        (OneOf(("killed", "failed")), "finished"),
    ],
)
def test_not_the_same(expected: Any, found: Any) -> None:
    assert not same(expected, found)


def test_metrics_are_compared_by_number() -> None:
    assert same(metric(1), metric(1.0))
    assert same(metric(-0.0), metric(0))
    assert not same(metric(2**70), metric(2**70 + 1))
    assert not same(metric("1"), metric(1))


def test_a_field_without_a_value_may_be_absent_but_a_key_may_not() -> None:
    assert list(differing_facts({("notes",): None}, {})) == []
    assert list(differing_facts({}, {("notes",): None})) == []
    assert [kind for kind, _, _ in differing_facts({("config", "a"): None}, {})] == ["missing"]
    assert [kind for kind, _, _ in differing_facts({}, {("config", "a"): None})] == ["extra"]


def test_what_can_be_anything_is_no_difference() -> None:
    expected: Facts = {("summary",): ANYTHING, ("runtime",): ANYTHING, ("name",): "a"}
    assert list(differing_facts(expected, {("summary", "x"): 1, ("name",): "a"})) == []


def test_long_values_are_cut_to_a_line() -> None:
    assert len(shown("x" * 10_000)) < 120
    assert shown("x\ny") == '"x\\ny"'
