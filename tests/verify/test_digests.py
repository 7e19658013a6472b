"""Digests of metric points: the same for the same points in any order, and for no others."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.verify.digests import PointDigests, StepTimes

Pairs = list[tuple[int, float]]
PAIRS = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats()), max_size=30)


def digest(points: Pairs, parts: int = 1) -> Any:
    digests = PointDigests()
    code = digests.code("m")
    for part in range(parts):
        chosen = points[part::parts]
        digests.add(
            np.full(len(chosen), code, np.int32),
            np.array([step for step, _ in chosen], np.int64),
            np.array([value for _, value in chosen], np.float64),
        )
    return digests.by_key()["m"]


@given(PAIRS, st.integers(1, 4), st.randoms(use_true_random=False))
def test_neither_order_nor_chunks_matter(points: Pairs, parts: int, chance: random.Random) -> None:
    shuffled = points.copy()
    chance.shuffle(shuffled)
    assert digest(shuffled, parts) == digest(points)


@given(PAIRS, st.integers(-(2**63), 2**63 - 1), st.floats())
def test_one_point_more_is_seen_even_if_it_is_there_already(points: Pairs, step: int, value: float) -> None:
    assert digest([*points, (step, value)]) != digest(points)
    assert digest([*points, (step, value), (step, value)]).content != digest(points).content


@pytest.mark.parametrize(
    "other",
    [(3, math.nextafter(0.1, 1)), (4, 0.1), (3, -0.1), (3, math.nan), (3, math.inf), (3, 0.0), (-3, 0.1)],
)
def test_a_point_is_its_step_and_every_bit_of_its_value(other: tuple[int, float]) -> None:
    assert digest([(1, 2.0), other]) != digest([(1, 2.0), (3, 0.1)])


def test_two_values_that_change_places_are_seen() -> None:
    assert digest([(1, 2.0), (2, 1.0)]) != digest([(1, 1.0), (2, 2.0)])


def test_all_nans_are_one_and_so_are_both_zeros() -> None:
    other_nan = np.array([0x7FF8000000000001], np.uint64).view(np.float64)[0]
    assert digest([(0, math.nan)]) == digest([(0, float(other_nan))])
    assert digest([(0, 0.0)]) == digest([(0, -0.0)])


@pytest.mark.parametrize(
    "values",
    [("1.0", 1.0), (True, 1.0), (None, 0.0), ("NaN", math.nan), ([1], [1.0]), (2**70, 2**70 + 1), ({}, [])],
)
def test_values_of_different_types_differ(values: tuple[Any, Any]) -> None:
    digests = PointDigests()
    for key, value in zip("ab", values, strict=True):
        digests.add_other(digests.code(key), 0, value)
    found = digests.by_key()
    assert found["a"] != found["b"]


def test_any_number_of_keys_is_told_apart() -> None:
    digests = PointDigests()
    for number in range(100):
        code = digests.code(f"k{number}")
        digests.add(np.array([code]), np.array([0], np.int64), np.array([float(number)]))
    found = digests.by_key()
    assert len({one.content for one in found.values()}) == 100
    assert digests.points == 100


# -- times of steps --------------------------------------------------------------------------------


def times(points: list[tuple[int, int]], chunk: int = 3) -> StepTimes:
    found = StepTimes()
    for start in range(0, len(points), chunk):
        part = points[start : start + chunk]
        found.add(np.array([s for s, _ in part], np.int64), np.array([t for _, t in part], np.int64))
    return found


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 9)), max_size=40))
def test_of_each_step_the_latest_time_counts(points: list[tuple[int, int]]) -> None:
    latest: dict[int, int] = {}
    for step, time in points:
        latest[step] = max(time, latest.get(step, time))
    assert times(points).digest() == times(sorted(latest.items()), chunk=7).digest()
    assert times(points).count == len(latest)


def test_a_time_that_differs_is_named() -> None:
    here, there = times([(1, 10), (2, 20), (3, 30)]), times([(1, 10), (2, 21), (4, 30)])
    assert here.digest() != there.digest()
    assert here.differing(there, 3) == [(2, 20, 21), (3, 30, None), (4, None, 30)]


def test_beyond_a_million_steps_memory_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StepTimes, "EXACT", 16)
    monkeypatch.setattr(StepTimes, "PENDING", 8)
    points = [(step, 10 * step) for step in range(1_000)]
    found, shuffled = times(points), points.copy()
    random.Random(1).shuffle(shuffled)
    assert (found.count, found.is_exact) == (16, False)
    assert times(shuffled).digest() == found.digest()
    assert times([*points[:-1], (999, 1)]).digest() != found.digest()
