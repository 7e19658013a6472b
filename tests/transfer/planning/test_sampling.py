"""A sample stands for all, and says how well."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from engine.transfer.planning.plan import Amount
from engine.transfer.planning.sampling import Reservoir, Tallies


def sampled(values: list[int], size: int) -> tuple[Reservoir[int], Tallies]:
    reservoir, tallies = Reservoir[int](size), Tallies()
    for value in values:
        reservoir.add(value)
    for value in reservoir.kept:
        tallies.add(Counter(points=value))
    return reservoir, tallies


def test_a_sample_of_everything_is_exact():
    values = [3, 1, 4, 1, 5]

    _, tallies = sampled(values, 10)

    assert tallies.amount("points", of=5) == Amount(14, exact=True)


def test_no_more_is_kept_than_was_asked_for():
    reservoir, _ = sampled(list(range(10_000)), 50)

    assert len(reservoir.kept) == len(set(reservoir.kept)) == 50
    assert reservoir.passed == 10_000


def test_early_and_late_items_have_the_same_chance():
    reservoir, _ = sampled(list(range(10_000)), 1_000)

    assert sum(item < 5_000 for item in reservoir.kept) == pytest.approx(500, abs=60)


def test_the_truth_is_within_the_margin_most_of_the_time():
    chance = random.Random(1)
    held = 0
    for _ in range(200):
        values = [int(chance.lognormvariate(3, 0.5)) for _ in range(500)]
        tallies = Tallies()
        for value in chance.sample(values, 60):
            tallies.add(Counter(points=value))
        amount = tallies.amount("points", of=500)
        assert not amount.exact
        held += abs(amount.about - sum(values)) <= amount.margin
    assert held / 200 > 0.9


def test_a_sample_whose_members_are_alike_has_no_margin():
    _, tallies = sampled([7] * 100, 10)

    assert tallies.amount("points", of=100) == Amount(700, exact=False, margin=0)


def test_what_was_never_seen_is_none():
    assert Tallies().amount("points", of=0) == Amount(0)
