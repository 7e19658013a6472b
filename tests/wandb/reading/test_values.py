"""Values as W&B writes them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.wandb.reading.values import _may_hold_long_integers, parse


@pytest.mark.parametrize(
    "number", [10**18, -(10**18), 2**63, 2**64 - 1, 2**64, 10**19, -(2**63), -(2**63) - 1, -(10**19), 10**40]
)
def test_integers_of_any_length_are_exact(number: int):
    assert parse(f'{{"at": {number}}}') == {"at": number}
    assert parse(f'{{"at": {number}, "x": 0.{"1" * 25}}}')["at"] == number
    assert parse(f'[0.{"0" * 19}1,{number},0.{"1" * 30},{{"n":"{"0" * 21}"}}]')[1] == number


@given(st.lists(st.integers() | st.floats(allow_nan=False) | st.floats(1e-6, 1e-3), max_size=20))
def test_numbers_are_what_python_reads(numbers: list[float]):
    text = json.dumps(numbers)
    assert repr(parse(text)) == repr(json.loads(text))


def test_small_fractions_are_no_long_integers():
    assert not _may_hold_long_integers(b'[0.00012345678901234567,-0.00098765432109876543,1e-20,"2024-01-01"]')
