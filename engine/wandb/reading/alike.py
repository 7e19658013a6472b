"""Lines that are alike: the same keys in the same order, each with a number. Most are.

With commas for its colons such a page is a table with twice as many columns, in which every other one says
the same in all lines: ``{"_step",0, "loss",0.5``. Arrow's reader of such tables makes columns of it without
a Python object for each value, in about half the time that parsing takes. Whatever is not proven to be read
exactly is left to the parser: keys that differ, values that are no numbers, integers that no float can hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from engine.records import Json
from engine.wandb.reading.rows import STEP, Columns
from engine.wandb.reading.values import parse

FEW = 64
"""Fewer lines are parsed before the reader has begun."""

BLOCK = 256

_EXACT = 2.0**53
"""From here on floats leave out integers."""

_SPACED = {word: [word, f" {word}", f"{word} ", f" {word} "] for word in ("null", "true", "false")}
"""Words with the spaces that may be around them; around numbers the reader passes over any."""

_PARSE = csv.ParseOptions(quote_char=False, double_quote=False, ignore_empty_lines=False)


def columns_of_alike(lines: Sequence[str]) -> Columns | None:
    """The rows by column; None if the lines are not alike, or not in the order of their steps."""
    if len(lines) < FEW or (first := _numbers_in(lines[0])) is None:
        return None
    try:
        table = _read(b"\n".join(map(_with_commas, blocks(lines))), len(first))
    except ValueError:
        return None  # a lone surrogate, an object within another, another number of columns somewhere
    if table.num_rows != len(lines):
        return None
    columns = [column.chunk(0) for column in table.columns]
    if not all(pc.all(pc.equal(column, column[0])).as_py() for column in columns[::2]):
        return None
    arrays = dict(zip(first, columns[1::2], strict=True))
    if STEP in arrays and _is_in_order(arrays[STEP]) and all(map(_is_exact, arrays.values())):
        return Columns(arrays, len(lines))
    return None


def blocks(lines: Sequence[str]) -> Iterator[Sequence[str]]:
    """Some lines at a time, which stay in the cache of a processor with what becomes of them."""
    return (lines[start : start + BLOCK] for start in range(0, len(lines), BLOCK))


def _with_commas(lines: Sequence[str]) -> bytes:
    """
    Raises:
        ValueError: one is not a single object.
    """
    text = "\n".join(lines).encode()
    # bytes.count takes ten times as long.
    if np.count_nonzero(np.frombuffer(text, np.uint8) == ord("}")) != len(lines):
        raise ValueError("a line has other than one brace")
    return text.replace(b"}", b" ").replace(b":", b",")


def _numbers_in(line: str) -> dict[str, Json] | None:
    """The row in a line if its values are numbers, truth values or null."""
    row = parse(line)
    is_flat = isinstance(row, dict) and {str, list, dict}.isdisjoint(map(type, row.values()))
    return row if is_flat and row else None


def _read(text: bytes, keys: int) -> pa.Table:
    names = [str(place) for place in range(2 * keys)]
    return csv.read_csv(
        pa.py_buffer(text),
        read_options=csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=names),
        parse_options=_PARSE,
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(names[::2], pa.binary()),
            null_values=_SPACED["null"],
            true_values=_SPACED["true"],
            false_values=_SPACED["false"],
            check_utf8=False,
        ),
    )


def _is_in_order(steps: pa.Array) -> bool:
    if steps.type != pa.int64() or steps.null_count:
        return False
    return bool(pc.all(pc.less_equal(steps[:-1], steps[1:])).as_py())


def _is_exact(values: pa.Array) -> bool:
    """Whether these are the values of the lines; an integer among floats may be another one than it was."""
    if values.type != pa.float64():
        return values.type in (pa.int64(), pa.bool_(), pa.null())
    ends = pc.min_max(values)
    # Both are NaN if there is nothing else, and that is exact.
    return not (ends["min"].as_py() <= -_EXACT or ends["max"].as_py() >= _EXACT)
