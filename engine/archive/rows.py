"""Histories in wide form as Parquet: a column for each key, with a type of its own, and nothing lost.

A column shows what most people want to see: numbers as numbers, text as text, anything nested as JSON.
Whatever it cannot show exactly (an integer among floats, a null that was logged, text among numbers, text
that is no UTF-8, integers beyond 64 bits, keys beyond the first thousand) stands in the column ``_exact``, a
JSON object with the real values of that row. Reading takes the columns, then what ``_exact`` says.
"""

from __future__ import annotations

import json
import marshal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import chain
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from engine.archive.layout import dumps
from engine.archive.tables import RUN, constant, file_facts, open_writer, shown
from engine.records import HistoryRows, Json
from engine.rows import by_key

FORM: Final = "rows"
EXACT: Final = "_exact"
RESERVED: Final = frozenset({"_run", EXACT})

MOST_COLUMNS: Final = 1_000
"""Keys with a column of their own; each column takes memory while a file is written and read."""

WINDOW_CELLS: Final = 1_000_000
"""Values in memory at most before they are written to the spool."""

WINDOW_ROWS: Final = 65_536

INTERNAL: Final = frozenset({"_step", "_runtime", "_timestamp"})
"""Keys of W&B's rows that are no values of the user."""

_KIND: Final = b"kind"
_MISSING: Final = object()
_INT64: Final = range(-(2**63), 2**63)


class Kind(StrEnum):
    """What a column holds."""

    FLOAT = "float"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TEXT = "text"
    JSON = "json"
    TIME = "time"


_TYPES: Final = {
    Kind.FLOAT: pa.float64(),
    Kind.INTEGER: pa.int64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.TEXT: pa.string(),
    Kind.JSON: pa.string(),
    Kind.TIME: pa.timestamp("ms", "UTC"),
}
_PYTHON: Final[Mapping[Kind, type]] = {
    Kind.FLOAT: float,
    Kind.INTEGER: int,
    Kind.TIME: int,
    Kind.BOOLEAN: bool,
    Kind.TEXT: str,
}


def kind_of(types: set[type]) -> Kind | None:
    """The kind of a column in which values of these types were seen; None if it has nothing to show."""
    types = types - {type(None)}
    if not types:
        return None
    if float in types:
        return Kind.FLOAT
    if int in types:
        return Kind.INTEGER
    if types == {bool}:
        return Kind.BOOLEAN
    return Kind.TEXT if types == {str} else Kind.JSON


class RowWriter:
    """Writes rows; all methods are to be called in a thread.

    Args:
        run_id: of the run whose rows these are; None if they are of several.
        times: keys whose integers are milliseconds since 1970.
        always: keys that have a column, of these types, even if no row has them; they come first.

    Which columns there are is only known at the end, so rows wait until then: in memory, or in a temporary
    file if they are many.
    """

    def __init__(
        self,
        path: Path,
        run_id: str | None,
        spool: Path,
        *,
        times: frozenset[str] = frozenset(),
        always: Mapping[str, type] = MappingProxyType({}),
    ) -> None:
        self._path = path
        self._run = None if run_id is None else shown(run_id)
        self._times = times
        self._spool_dir = spool
        self._types: dict[str, set[type]] = {key: {kind} for key, kind in always.items()}
        self._window: list[dict[str, Json]] = []
        self._cells = 0
        self._spool: IO[bytes] | None = None
        self.count = 0
        self.points = 0

    def add(self, rows: Sequence[Mapping[str, Json]]) -> None:
        columns = by_key(rows)
        if columns is None:
            named = dict.fromkeys(chain.from_iterable(rows))
            columns = {key: [row[key] for row in rows if key in row] for key in named}
        for key, values in columns.items():
            self._note(key, values)
        for row in rows:
            self._window.append(dict(row))
            self._cells += len(row) + 1
            if self._cells >= WINDOW_CELLS or len(self._window) >= WINDOW_ROWS:
                self._spill()
        self.count += len(rows)

    def _note(self, key: str, values: Sequence[Json]) -> None:
        """Values that some rows have under a key."""
        seen = set(map(type, values))
        self._types.setdefault(key, set()).update(seen)
        if key not in INTERNAL:
            self.points += len(values) - (values.count(None) if type(None) in seen else 0)

    def _spill(self) -> None:
        if self._spool is None:
            self._spool = tempfile.TemporaryFile(dir=self._spool_dir)  # noqa: SIM115 - closed on exit
        marshal.dump(self._window, self._spool)
        self._window, self._cells = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._write()
        finally:
            if self._spool is not None:
                self._spool.close()

    def _write(self) -> None:
        columns = columns_of(self._types, self._times)
        schema = pa.schema(
            [
                *([] if self._run is None else [RUN]),
                *(
                    pa.field(name, _TYPES[kind], metadata={_KIND: str(kind)})
                    for name, kind in columns.items()
                ),
                pa.field(EXACT, pa.string()),
            ],
            metadata=file_facts(FORM),
        )
        textual = [name for name, kind in columns.items() if kind is Kind.TEXT]
        with open_writer(
            self._path, schema, dictionaries=[*([] if self._run is None else [RUN.name]), *textual]
        ) as writer:
            for window in self._windows():
                arrays = _arrays(window, columns)
                if self._run is not None:
                    arrays = [constant(self._run, len(window)), *arrays]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=WINDOW_ROWS)

    def _windows(self) -> Iterator[list[dict[str, Json]]]:
        if self._spool is not None:
            end = self._spool.tell()
            self._spool.seek(0)
            while self._spool.tell() < end:
                yield marshal.load(self._spool)  # noqa: S302 - this process wrote it, into a file without a name
        if self._window:
            yield self._window


def columns_of(types: Mapping[str, set[type]], times: frozenset[str] = frozenset()) -> dict[str, Kind]:
    """The columns of a file, in the order in which their keys were first seen."""
    columns: dict[str, Kind] = {}
    for key, seen in types.items():
        kind = kind_of(seen)
        if kind is None or key in RESERVED or shown(key) != key or len(columns) >= MOST_COLUMNS:
            continue
        columns[key] = Kind.TIME if kind is Kind.INTEGER and key in times else kind
    return columns


def _arrays(rows: Sequence[Mapping[str, Json]], columns: Mapping[str, Kind]) -> list[Any]:
    """The columns of these rows, and ``_exact``."""
    exact: dict[int, dict[str, Json]] = {}
    same, known = by_key(rows) or {}, columns.keys()
    arrays = [
        _array(name, kind, same.get(name) or [row.get(name, _MISSING) for row in rows], exact)
        for name, kind in columns.items()
    ]
    for number, row in enumerate(rows if not same or not same.keys() <= known else ()):
        if not row.keys() <= known:
            exact.setdefault(number, {}).update({key: row[key] for key in row if key not in known})
    texts = [dumps(exact[number]) if number in exact else None for number in range(len(rows))]
    return [*arrays, pa.array(texts, pa.string())]


def _array(name: str, kind: Kind, values: Sequence[Json], exact: dict[int, dict[str, Json]]) -> Any:
    """A column of these values, of which some may be missing."""
    wanted = _PYTHON.get(kind)
    if set(map(type, values)) == {wanted}:
        try:
            return pa.array(values, _TYPES[kind])
        except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError):
            pass  # an integer or a text that does not fit: one by one
    column: list[Json] = []
    for number, value in enumerate(values):
        if value is _MISSING:
            column.append(None)
            continue
        fits, seen = _cell(kind, value)
        column.append(seen)
        if not fits:
            exact.setdefault(number, {})[name] = value
    return pa.array(column, _TYPES[kind])


def _cell(kind: Kind, value: Json) -> tuple[bool, Json]:
    """Whether a column of this kind can hold a value exactly, and what it shows."""
    match kind:
        case Kind.JSON:
            return True, dumps(value)
        case Kind.TEXT:
            fits = isinstance(value, str) and shown(value) == value
            return fits, shown(value) if isinstance(value, str) else None
        case Kind.INTEGER | Kind.TIME:
            fits = type(value) is int and value in _INT64
            return fits, value if fits else None
        case Kind.FLOAT if type(value) is int:
            try:
                return False, float(value)
            except OverflowError:
                return False, None
        case _:
            fits = type(value) is _PYTHON[kind]
            return fits, value if fits else None


def read_rows(path: Path) -> Iterator[HistoryRows]:
    """The rows, in chunks."""
    with pq.ParquetFile(path) as file:
        # All columns, because a selection by name would take "a.b" for something inside of "a".
        schema = file.schema_arrow
        names = schema.names
        nested = [(field.metadata or {}).get(_KIND) == Kind.JSON.encode() for field in schema]
        first = 0
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            for start in range(0, table.num_rows, HistoryRows.CHUNK_ROWS):
                rows = _rows_of(table.slice(start, HistoryRows.CHUNK_ROWS), names, nested)
                yield HistoryRows(first=first, rows=rows)
                first += len(rows)


def _rows_of(table: Any, names: Sequence[str], nested: Sequence[bool]) -> list[dict[str, Json]]:
    rows: list[dict[str, Json]] = [{} for _ in range(table.num_rows)]
    for position, name in enumerate(names):
        if name == RUN.name:
            continue
        for row, value in zip(rows, table.column(position).to_pylist(), strict=True):
            if value is None:
                continue
            if name == EXACT:
                row.update(json.loads(value))
            else:
                row[name] = json.loads(value) if nested[position] else value
    return rows
