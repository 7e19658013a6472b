"""The order of several values on one step."""

from __future__ import annotations

import random

import numpy as np
import pytest

from engine.verify.orders import Points, same_order

Triple = tuple[int, int, float]
"""step, time, value"""


def columns(triples: list[Triple]) -> list[Points]:
    """In two chunks."""
    return [
        Points(
            np.array([step for step, _, _ in part], np.int64),
            np.array([time for _, time, _ in part], np.int64),
            np.array([value for _, _, value in part], np.float64),
        )
        for part in (triples[::2], triples[1::2])
    ]


def rows(triples: list[Triple]) -> list[Points]:
    whole = columns(triples)
    return (
        [
            Points(
                np.array([step for step, _, _ in triples], np.int64),
                np.zeros(len(triples), np.int64),
                np.array([value for _, _, value in triples], np.float64),
            )
        ]
        if whole
        else []
    )


POINTS: list[Triple] = [(0, 10 * n, float(n)) for n in range(9)] + [
    (1, 5, 7.0),
    (1, 6, 7.0),
    (1, 6, float("nan")),
]


def test_rows_in_the_order_of_their_times_are_in_order_however_the_points_come() -> None:
    shuffled = POINTS.copy()
    random.Random(1).shuffle(shuffled)
    assert same_order(columns(shuffled), rows(POINTS))


def test_two_rows_that_changed_places_are_not() -> None:
    swapped = POINTS.copy()
    swapped[2], swapped[3] = swapped[3], swapped[2]
    assert not same_order(columns(POINTS), rows(swapped))


def test_values_of_one_moment_may_come_in_any_order() -> None:
    swapped = POINTS.copy()
    swapped[-1], swapped[-2] = swapped[-2], swapped[-1]
    assert same_order(columns(POINTS), rows(swapped))


@pytest.mark.parametrize("left", [POINTS[:-1], []])
def test_other_points_are_not_in_order(left: list[Triple]) -> None:
    assert not same_order(columns(POINTS), rows(left))
