"""Exported rows in Parquet files, as rows and as Arrow.

Files may overlap; where two have the same step, the row is made of both. A cell that is null was not logged
at that step. Who makes tables of the rows takes them as they are, so that none becomes a Python object.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.records import HistoryRows, Json
from engine.wandb.reading.rows import STEP, Part, Row

BATCH = 1_024
"""Rows that are taken from a file at once."""

BATCH_OF_TABLE = 64 * BATCH

Content: TypeAlias = Path | pa.Buffer
"""Where the bytes of a file are."""


def check(content: Content) -> None:
    """
    Raises:
        ArrowInvalid, OSError: it cannot be read.
        KeyError: it has no steps.
    """
    with _opened(content) as file:
        if STEP not in file.schema_arrow.names:
            raise KeyError(f"there is no column {STEP}")


def _opened(content: Content) -> pq.ParquetFile:
    return pq.ParquetFile(content if isinstance(content, Path) else pa.BufferReader(content))


@dataclass(slots=True)
class Overlap:
    """How many rows of files became parts of others."""

    rows: int = 0


def united(
    contents: Sequence[Content], keys: Sequence[str] = (), overlap: Overlap | None = None
) -> Generator[Part]:
    """The rows of several files by step: as batches if each file follows the one before, else ``merged``.

    Args:
        overlap: counts rows as ``merged`` does.
        keys: whose columns are wanted, beside that of the steps; all if there are none. A key with dots may
            also be within a nested column.
    """
    if not _follow_each_other(contents):
        yield from merged(contents, overlap)
        return
    for content in contents:
        with _opened(content) as file:
            names = file.schema_arrow.names
            columns = [name for name in names if name == STEP or is_wanted(name, keys)] if keys else names
            yield from file.iter_batches(BATCH_OF_TABLE, columns=columns)


def is_wanted(column: str, keys: Sequence[str]) -> bool:
    """Whether a column has any of these keys, or has one of them within its values."""
    return any(key == column or key.startswith(f"{column}.") for key in keys)


def _follow_each_other(contents: Sequence[Content]) -> bool:
    """Whether each file is in the order of steps, and has later ones than the file before."""
    spans = []
    for content in contents:
        with _opened(content) as file:
            if not file.metadata.num_rows:
                continue
            if (span := _span(file)) is None:
                return False
            spans.append(span)
    return all(one[1] < other[0] for one, other in pairwise(spans))


def merged(contents: Sequence[Content], overlap: Overlap | None = None) -> Generator[list[Row]]:
    """The rows of several files by step, in lists of bounded length.

    Args:
        overlap: counts the rows that were made parts of others.
    """
    overlap = overlap or Overlap()
    parts = [_numbered(number, content) for number, content in enumerate(contents)]
    out: list[Row] = []
    for _, same_step in groupby(heapq.merge(*parts, key=itemgetter(0, 1)), key=itemgetter(0)):
        found = [(number, row) for _, number, row in same_step]
        rows = _united(found)
        overlap.rows += len(found) - len(rows)
        out.extend(rows)
        if len(out) >= HistoryRows.CHUNK_ROWS:
            yield out
            out = []
    if out:
        yield out


def _united(rows: Sequence[tuple[int, Row]]) -> list[Row]:
    """The rows of one step: those of one file stay apart, those of several files are parts of each other."""
    if rows[0][0] == rows[-1][0]:
        return [row for _, row in rows]
    united: list[dict[str, Json]] = []
    for _, of_file in groupby(rows, key=itemgetter(0)):
        for place, (_, row) in enumerate(of_file):
            if place == len(united):
                united.append({})
            united[place].update(row)
    return list(united)


def _numbered(number: int, content: Content) -> Iterator[tuple[int, int, Row]]:
    for row in _rows_in(content):
        yield int(row.get(STEP, -1)), number, row


def _rows_in(content: Content) -> Iterator[Row]:
    with _opened(content) as file:
        if file.metadata.num_rows and _span(file) is None:
            yield from as_logged(file.read().sort_by(STEP))
            return
        for batch in file.iter_batches(BATCH):
            yield from as_logged(batch)


def _span(file: pq.ParquetFile) -> tuple[int, int] | None:
    """The first step and the last one; None if the rows are in another order. Rows without one come first."""
    first = last = None
    for batch in file.iter_batches(BATCH_OF_TABLE, columns=[STEP]):
        steps = pc.fill_null(batch.column(0), -1)
        if len(steps) == 0:
            continue
        begins, ends = steps[0].as_py(), steps[-1].as_py()
        if last is not None and begins < last:
            return None
        if len(steps) > 1 and not pc.all(pc.less_equal(steps[:-1], steps[1:])).as_py():
            return None
        first, last = begins if first is None else first, ends
    assert first is not None
    assert last is not None
    return first, last


def as_logged(table: pa.Table | pa.RecordBatch) -> Iterator[Row]:
    """The rows, with what was logged at their steps."""
    nested = {field.name for field in table.schema if pa.types.is_nested(field.type)}
    for row in table.to_pylist():
        yield {
            key: without_nulls(value) if key in nested else value
            for key, value in row.items()
            if value is not None
        }


def without_nulls(value: Json) -> Json:
    """A nested value: what is null in a struct was not there; what is null in a list was."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value
