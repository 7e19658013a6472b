"""Histories as Arrow tables: every row, one column a key, each column of one type.

Numbers, truth values and texts have a type of their own. A column that holds anything else, or values of
different kinds, holds JSON texts, which its field says in its metadata: ``{"encoding": "json"}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from engine.records import Json
from engine.wandb.reading.parquet import without_nulls
from engine.wandb.reading.rows import Part, Row

if TYPE_CHECKING:
    import pandas as pd

JSON = {"encoding": "json"}


class HistoryTable:
    """A whole history.

    Anything that speaks the Arrow C stream interface takes it as it is: ``pyarrow.table(table)``,
    ``polars.DataFrame(table)``, DuckDB.

    Attributes:
        arrow: the ``pyarrow.Table``.
    """

    def __init__(self, arrow: pa.Table) -> None:
        self.arrow = arrow

    @property
    def num_rows(self) -> int:
        return int(self.arrow.num_rows)

    @property
    def column_names(self) -> list[str]:
        return list(self.arrow.column_names)

    def __len__(self) -> int:
        return self.num_rows

    def to_pandas(self) -> pd.DataFrame:
        """A frame; a cell that nothing was logged to is NaN or None."""
        frame: pd.DataFrame = self.arrow.to_pandas()
        return frame

    def to_polars(self) -> Any:
        """A ``polars.DataFrame``; polars has to be installed."""
        import polars

        return polars.from_arrow(self.arrow)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.arrow.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"<HistoryTable {self.num_rows} rows, {len(self.column_names)} columns>"


class TableBuilder:
    """Collects rows, a part at a time; memory goes by Arrow, not by Python objects."""

    def __init__(self) -> None:
        self._columns: dict[str, list[pa.Array]] = {}
        self._rows = 0

    def add(self, part: Part) -> None:
        """The next rows."""
        for key, array in _exported(part) if isinstance(part, pa.RecordBatch) else _logged(part):
            if key not in self._columns:
                self._columns[key] = [pa.nulls(self._rows)] if self._rows else []
            self._columns[key].append(array)
        self._rows += len(part)
        for parts in self._columns.values():
            missing = self._rows - sum(map(len, parts))
            if missing:
                parts.append(pa.nulls(missing))

    def table(self) -> HistoryTable:
        """All that was collected."""
        fields, columns = [], []
        for key, parts in self._columns.items():
            kind, encoded = _united(parts)
            fields.append(pa.field(key, kind, metadata=JSON if encoded else None))
            columns.append(pa.chunked_array([_as(part, kind, encoded) for part in parts], kind))
        return HistoryTable(pa.table(columns, schema=pa.schema(fields)))


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
    return _encoded(map(without_nulls, column.to_pylist()))


_PLAIN = (
    ((pa.types.is_floating,), pa.float64()),
    ((pa.types.is_integer,), pa.int64()),
    ((pa.types.is_boolean,), pa.bool_()),
    ((pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view), pa.string()),
)


def _logged(rows: Sequence[Row]) -> Iterator[tuple[str, pa.Array]]:
    for key, values in _columns_of(rows):
        yield key, _array(values)


def _columns_of(rows: Sequence[Row]) -> Iterable[tuple[str, Sequence[Json]]]:
    """Each key with its values, None where a row has none."""
    keys = list(rows[0]) if rows else []
    if set(map(len, rows)) == {len(keys)}:
        # Most often all rows have the same keys, and then no Python code runs for each value.
        try:
            return [(key, list(map(itemgetter(key), rows))) for key in keys]
        except KeyError:
            pass  # as many keys, but others
    named = dict.fromkeys(key for row in rows for key in row)
    return [(key, [row.get(key) for row in rows]) for key in named]


_JSON_TYPE = pa.large_string()
"""What marks a chunk of JSON texts until the table is made; texts of users are of the other type."""


def _array(values: Sequence[Json]) -> pa.Array:
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        return _encoded(values)
    kind = array.type
    known = pa.types.is_null(kind) or kind in (pa.int64(), pa.float64(), pa.bool_(), pa.string())
    return array if known else _encoded(values)


def _encoded(values: Iterable[Json]) -> pa.Array:
    texts = (None if value is None else json.dumps(value) for value in values)
    return pa.array(list(texts), _JSON_TYPE)


def _united(parts: Sequence[pa.Array]) -> tuple[pa.DataType, bool]:
    """The type of a column with these chunks, and whether its values are JSON texts."""
    kinds = {part.type for part in parts if not pa.types.is_null(part.type)}
    if not kinds:
        return pa.null(), False
    if len(kinds) == 1:
        kind = kinds.pop()
        return (pa.string(), True) if kind == _JSON_TYPE else (kind, False)
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
    if not encoded or part.type == _JSON_TYPE or pa.types.is_null(part.type):
        return part.cast(kind)
    return _encoded(part.to_pylist()).cast(kind)
