"""Pages of lines: what is read fast is what is read line by line."""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.wandb.api.collecting import TableBuilder
from engine.wandb.reading.alike import BLOCK, FEW, columns_of_alike
from engine.wandb.reading.lines import parse_lines, part_of, rows_of
from engine.wandb.reading.rows import Columns, Part
from engine.wandb.reading.values import parse


def test_lines_that_are_parsed_together_are_what_each_is_alone():
    lines = ['{"a": 1}', '{"a": 18446744073709551616}', '{"a": -0.0, "b": "x,]"}', '{"a": "\\ud800"}'] * BLOCK
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


@pytest.mark.parametrize(
    "number",
    [2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1, 10**19, 10**40, 12345678901234567, 0.12345678901234567],
)
@pytest.mark.parametrize("before", ["", " ", "  "])
def test_a_number_is_exact_wherever_it_stands_among_lines(number: float, before: str):
    lines = [f'{{"a":{before}{number}, "b": "{"x" * place}"}}' for place in range(8)]
    assert [row["a"] for row in parse_lines(lines)] == [number] * 8


def table(*parts: Part) -> pa.Table:
    builder = TableBuilder()
    for part in parts:
        builder.add(part)
    return builder.table().arrow


def told(found: pa.Table) -> tuple[Any, ...]:
    """All that can be told from a table; NaN is equal to itself, and -0.0 differs from 0."""
    fields = [(field.name, field.type, field.metadata) for field in found.schema]
    return fields, [[repr(value) for value in column.to_pylist()] for column in found.columns]


def slowly(lines: list[str]) -> pa.Table:
    """Each line parsed by Python's own parser."""
    return table(sorted(map(json.loads, lines), key=lambda row: row["_step"]))


KINDS = (
    st.floats(),
    st.integers(-1000, 1000),
    st.integers(),
    st.floats(width=16) | st.integers(-(2**54), 2**54),
    st.booleans(),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none(),
    st.text(max_size=5) | st.sampled_from(['",', ":", "}\n{", "null", '"', "\\"]),
    st.dictionaries(st.text(max_size=3), st.integers() | st.floats() | st.lists(st.booleans()), max_size=2),
    st.booleans() | st.integers(0, 1),
)
KEYS = st.text(max_size=6) | st.sampled_from(["loss", "a:b", "a,b", "{", "}", '"', "x.y", "\u00e9", "NaN"])


@st.composite
def pages(draw: st.DrawFn) -> list[str]:
    """Lines of a page; many have the same keys in the same order, some have not."""
    columns = draw(st.dictionaries(KEYS, st.sampled_from(KINDS), max_size=4))
    columns.pop("_step", None)
    # A few rows are drawn and the others say the same, so that there are no more choices than needed.
    drawn = [{key: draw(kind) for key, kind in columns.items()} for _ in range(5)]
    rows: list[dict[str, Any]] = [{"_step": step, **drawn[step * 5 // FEW]} for step in range(FEW)]
    if draw(st.booleans()):
        odd = draw(st.integers(0, len(rows) - 1))
        rows[odd] = draw(
            st.sampled_from(
                [
                    {**rows[odd], "_step": draw(st.integers(0, 100))},
                    dict(reversed(rows[odd].items())),
                    {"_step": odd},
                    {**rows[odd], "new": 1},
                ]
            )
        )
    separators = draw(st.sampled_from([(", ", ": "), (",", ":")]))
    ascii_only = draw(st.booleans())
    return [json.dumps(row, separators=separators, ensure_ascii=ascii_only) for row in rows]


@settings(deadline=None)
@given(pages())
def test_a_table_of_lines_is_what_each_line_says(lines: list[str]):
    assert told(table(part_of(lines))) == told(slowly(lines))


@settings(deadline=None)
@given(pages())
def test_rows_of_lines_are_what_each_line_says(lines: list[str]):
    wanted = sorted(map(json.loads, lines), key=lambda row: row["_step"])
    assert repr(rows_of(lines)) == repr(wanted)


def lines_of(values: list[Any], key: str = "k") -> list[str]:
    return [json.dumps({"_step": step, key: value}) for step, value in enumerate(values)]


@pytest.mark.parametrize(
    ("value", "kind"),
    [(1, pa.int64()), (0.5, pa.float64()), (True, pa.bool_()), (None, pa.null()), (math.nan, pa.float64())],
)
def test_lines_that_are_alike_become_columns_without_being_parsed(value: Any, kind: pa.DataType):
    found = columns_of_alike(lines_of([value] * FEW))
    assert found is not None
    assert found.arrays["k"].type == kind
    assert repr(found.arrays["k"].to_pylist()) == repr([value] * FEW)


@pytest.mark.parametrize(
    "values",
    [
        [1] * FEW + ["a"],
        [0.5] * FEW + [2**53 + 1],
        [1] * FEW + [2**63],
        [1] * FEW + [True],
        [1] * FEW + [{"a": 1}],
        [1] * FEW + [[1]],
        [1] * FEW + [math.inf],
        ["a"] * FEW,
    ],
    ids=repr,
)
def test_what_may_not_be_exact_is_left_to_the_parser(values: list[Any]):
    assert columns_of_alike(lines_of(values)) is None
    assert told(table(part_of(lines_of(values)))) == told(slowly(lines_of(values)))


def test_lines_with_other_keys_or_in_another_order_are_not_alike():
    alike = lines_of([1] * FEW)
    other = [lines_of([1] * FEW, "l")[-1], alike[0], '{"k": 1, "_step": 99}', '{"_step": 99}', ""]
    other += ['{"_step": 99, "k": 1', '{"_step": 99, "k": }', '{"_step": 99, "k": 1, "l": 1}']
    assert columns_of_alike(alike) is not None
    for line in other:
        assert columns_of_alike([*alike, line]) is None


@pytest.mark.parametrize("keys", [["k"], ["other"], ["k", "some"], ["nested.x"], ["some"], ["_step"]])
def test_keys_that_are_chosen_of_lines_are_among_the_rest(keys: list[str]):
    rows = [
        {"_step": step, "k": step / 7, "text": "x", "nested": {"x": step}} | ({"some": 1} if step % 3 else {})
        for step in range(2 * BLOCK)
    ]
    part = part_of([json.dumps(row) for row in rows], keys)
    if isinstance(part, Columns):
        assert [part.arrays[key].to_pylist() for key in keys if key in rows[0]] == [
            [row[key] for row in rows] for key in keys if key in rows[0]
        ]
    else:
        assert part == rows


def test_a_surrogate_without_its_other_half_is_kept():
    lines = [*lines_of([0] * FEW), '{"_step": 999, "k": "\ud800"}']
    assert rows_of(lines)[-1]["k"] == "\ud800"
