"""Rows by column: each key with its values as an Arrow array of a plain type, or of JSON texts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat
from operator import itemgetter

import pyarrow as pa

from engine.records import Json
from engine.rows import by_key
from engine.wandb.reading.rows import Columns, Row

JSON_TEXTS = pa.large_string()
"""The type of an array of JSON texts; texts of users are of the other one."""

_PLAIN = (pa.int64(), pa.float64(), pa.bool_(), pa.string())


class ColumnBuilder:
    """Collects the values of rows by key, some rows at a time, so that the rows need not stay."""

    def __init__(self) -> None:
        self._values: dict[str, list[Json]] = {}
        self._rows = 0

    def add(self, rows: Sequence[Row]) -> None:
        """The next rows, whatever keys they have."""
        if not rows:
            return
        columns = by_key(rows)
        if columns is None:
            named = dict.fromkeys(chain.from_iterable(rows))
            columns = {key: [row.get(key) for row in rows] for key in named}
        self._extend(columns, len(rows))

    def add_chosen(self, rows: Sequence[Row], keys: Iterable[str]) -> bool:
        """The next rows, of which those keys are wanted that all of them have.

        Returns:
            False, and nothing was added, if some of them have a key that others have not.
        """
        chosen = {}
        for key in keys:
            having = sum(key in row for row in rows)
            if having == len(rows):
                chosen[key] = list(map(itemgetter(key), rows))
            elif having or "." in key:  # which may be somewhere within another key
                return False
        if self._rows and self._values.keys() != chosen.keys():
            return False
        self._extend(chosen, len(rows))
        return True

    def _extend(self, columns: Mapping[str, Sequence[Json]], rows: int) -> None:
        for key, values in columns.items():
            column = self._values.setdefault(key, [])
            column.extend(repeat(None, self._rows - len(column)))
            column.extend(values)
        self._rows += rows

    def columns(self) -> Columns:
        """All that was collected; what a row has not is null."""
        for values in self._values.values():
            values.extend(repeat(None, self._rows - len(values)))
        return Columns({key: array_of(values) for key, values in self._values.items()}, self._rows)


def array_of(values: Sequence[Json]) -> pa.Array:
    """Of a plain type if all values have it exactly, of JSON texts if not; of type null if all are None."""
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        return as_json(values)
    return array if pa.types.is_null(array.type) or array.type in _PLAIN else as_json(values)


def as_json(values: Iterable[Json]) -> pa.Array:
    """The values as JSON texts; null stays null."""
    texts = (None if value is None else json.dumps(value) for value in values)
    return pa.array(list(texts), JSON_TEXTS)
