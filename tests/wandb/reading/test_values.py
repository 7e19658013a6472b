"""Values as W&B writes them."""

from __future__ import annotations

import pytest

from engine.wandb.reading.values import parse


@pytest.mark.parametrize(
    "number", [10**18, -(10**18), 2**63, 2**64 - 1, 2**64, 10**19, -(2**63), -(2**63) - 1, -(10**19), 10**40]
)
def test_integers_of_any_length_are_exact(number: int):
    assert parse(f'{{"at": {number}}}') == {"at": number}
    assert parse(f'{{"at": {number}, "x": 0.{"1" * 25}}}')["at"] == number
