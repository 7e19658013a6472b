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


def test_no_lines():
    assert parse_lines([]) == []
