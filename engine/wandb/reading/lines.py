"""Rows of a history that come as lines of JSON: as Python objects, or read by Arrow where that is exact."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from engine.records import Json
from engine.wandb.reading.parquet import STEP, Part, Row
from engine.wandb.reading.values import parse_lines

EXACT = 2**53
"""Below this, a float holds every integer: Arrow makes floats of a column in which there are any."""


def rows_of(lines: Sequence[str]) -> list[Row]:
    """The rows in the order of their steps.

    Raises:
        ValueError: a line is no JSON.
    """
    return in_order(parse_lines(lines))


def part_of(lines: Sequence[str]) -> Part:
    """The same for a table: as Arrow if there are but plain values, which is most often so and far quicker.

    Raises:
        ValueError: a line is no JSON.
    """
    batch = _batch_of(lines)
    return rows_of(lines) if batch is None else batch


def _batch_of(lines: Sequence[str]) -> pa.RecordBatch | None:
    """What Arrow reads, None if that is not just what the lines say, or in another order."""
    try:
        text = "\n".join(lines).encode()
        options = pj.ReadOptions(use_threads=False, block_size=len(text) + 1)
        table = pj.read_json(pa.BufferReader(text), options)
    except (pa.ArrowInvalid, UnicodeEncodeError):
        # A bare NaN, values of different kinds under one key, half a surrogate pair.
        return None
    if len(table) != len(lines) or not all(map(_is_exact, table.columns)):
        return None
    (batch,) = table.combine_chunks().to_batches()
    return batch if STEP in table.column_names and _is_sorted(batch.column(STEP)) else None


def _is_exact(column: pa.ChunkedArray) -> bool:
    """Whether Arrow has read a column as it is: it makes times of texts that look so, structs of objects."""
    if column.type == pa.float64():
        extent = pc.min_max(column)
        return bool(extent["min"].as_py() > -EXACT and extent["max"].as_py() < EXACT)
    return column.type in (pa.int64(), pa.bool_(), pa.string())


def _is_sorted(steps: pa.Array) -> bool:
    if steps.type != pa.int64() or steps.null_count:
        return False
    return bool(pc.all(pc.less_equal(steps[:-1], steps[1:])).as_py() is not False)


def in_order(rows: Sequence[Row]) -> list[Row]:
    """By step, also rows of several writers; a row without a step stays behind the one before it."""
    steps: list[Json] = [row.get(STEP) for row in rows]
    if set(map(type, steps)) == {int} and steps == sorted(steps):
        return list(rows)
    keys: list[int] = []
    for row in rows:
        step = step_of(row)
        keys.append(step if step is not None else keys[-1] if keys else -1)
    return [rows[place] for place in sorted(range(len(rows)), key=keys.__getitem__)]


def step_of(row: Row) -> int | None:
    step = row.get(STEP)
    return step if type(step) is int else None


def step_at(part: Part, place: int) -> int | None:
    """The step of one of the rows, None if it has none."""
    if isinstance(part, pa.RecordBatch):
        step = part.column(STEP)[place].as_py()
        return None if step is None else int(step)
    return step_of(part[place])
