"""Values as W&B writes them."""

from __future__ import annotations

import math

import pytest

from engine.wandb.reading.values import LINES, parse, parse_lines


def test_lines_that_are_parsed_together_are_what_each_is_alone():
    lines = ['{"a": 1}', '{"a": 18446744073709551616}', '{"a": -0.0, "b": "x,]"}', '{"a": "\\ud800"}'] * LINES
    assert [repr(value) for value in parse_lines(lines)] == [repr(parse(line)) for line in lines]


def test_a_bare_nan_among_lines():
    found = parse_lines(['{"a": 1}', '{"a": NaN}', '{"a": -Infinity}'])
    assert found[0] == {"a": 1}
    assert math.isnan(found[1]["a"])
    assert found[2]["a"] == -math.inf


@pytest.mark.parametrize("lines", [["{}", "{}, {}"], ["{}", ""], ["{"], ["1],[2"]])
def test_what_is_no_line_is_no_line_among_others_either(lines: list[str]):
    with pytest.raises(ValueError):  # noqa: PT011 - of the parser's
        parse_lines(lines)


@pytest.mark.parametrize(
    "number", [10**18, -(10**18), 2**63, 2**64 - 1, 2**64, 10**19, -(2**63), -(2**63) - 1, -(10**19), 10**40]
)
def test_integers_of_any_length_are_exact(number: int):
    assert parse(f'{{"at": {number}}}') == {"at": number}
    assert parse(f'{{"at": {number}, "x": 0.{"1" * 25}}}')["at"] == number


def test_no_lines():
    assert parse_lines([]) == []
