"""Makes one table of the parts of a history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from engine.wandb.api.table import HistoryTable
from engine.wandb.reading.columns import JSON_TEXTS, ColumnBuilder, as_json
from engine.wandb.reading.parquet import without_nulls
from engine.wandb.reading.rows import Columns, Part

JSON = {"encoding": "json"}


@dataclass(slots=True)
class _Column:
    """The arrays of one key so far, and the rows in them; rows after those have none."""

    arrays: list[pa.Array] = field(default_factory=list)
    rows: int = 0

    def add(self, array: pa.Array, before: int) -> None:
        """More values, after so many rows."""
        if self.rows < before:
            self.arrays.append(pa.nulls(before - self.rows))
        self.arrays.append(array)
        self.rows = before + len(array)


class TableBuilder:
    """Collects rows, a part at a time; memory goes by Arrow, not by Python objects."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = defaultdict(_Column)
        self._rows = 0

    def add(self, part: Part) -> None:
        """The next rows."""
        for key, array in _arrays_of(part):
            self._columns[key].add(array, self._rows)
        self._rows += len(part)

    def table(self) -> HistoryTable:
        """All that was collected."""
        fields, columns = [], []
        for key, column in self._columns.items():
            if column.rows < self._rows:
                column.add(pa.nulls(self._rows - column.rows), column.rows)
            kind, encoded = _united(column.arrays)
            fields.append(pa.field(key, kind, metadata=JSON if encoded else None))
            columns.append(pa.chunked_array([_as(part, kind, encoded) for part in column.arrays], kind))
        return HistoryTable(pa.table(columns, schema=pa.schema(fields)))


def _arrays_of(part: Part) -> Iterable[tuple[str, pa.Array]]:
    match part:
        case pa.RecordBatch():
            return _exported(part)
        case Columns():
            return part.arrays.items()
        case _:
            columns = ColumnBuilder()
            columns.add(part)
            return columns.columns().arrays.items()


def _exported(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    """The columns of which there is anything."""
    for key, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count < len(column):
            yield key, _plain(column)


def _plain(column: pa.Array) -> pa.Array:
    """Of one of the four plain types, or JSON texts."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    for fits, plain in _PLAIN:
        if any(is_of_type(kind) for is_of_type in fits):
            try:
                return column if column.type == plain else column.cast(plain)
            except pa.ArrowInvalid:
                break  # an unsigned integer of 64 bits
    return as_json(map(without_nulls, column.to_pylist()))


_PLAIN = (
    ((pa.types.is_floating,), pa.float64()),
    ((pa.types.is_integer,), pa.int64()),
    ((pa.types.is_boolean,), pa.bool_()),
    ((pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view), pa.string()),
)


def _united(parts: Sequence[pa.Array]) -> tuple[pa.DataType, bool]:
    """The type of a column with these chunks, and whether its values are JSON texts."""
    kinds = {part.type for part in parts if not pa.types.is_null(part.type)}
    if not kinds:
        return pa.null(), False
    if len(kinds) == 1:
        kind = kinds.pop()
        return (pa.string(), True) if kind == JSON_TEXTS else (kind, False)
    if kinds == {pa.int64(), pa.float64()} and all(_is_exact(part) for part in parts):
        return pa.float64(), False
    return pa.string(), True


def _is_exact(part: pa.Array) -> bool:
    """Whether floats can hold it."""
    if part.type != pa.int64():
        return True
    try:
        part.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _as(part: pa.Array, kind: pa.DataType, encoded: bool) -> pa.Array:
    if not encoded or part.type == JSON_TEXTS or pa.types.is_null(part.type):
        return part.cast(kind)
    return as_json(part.to_pylist()).cast(kind)
