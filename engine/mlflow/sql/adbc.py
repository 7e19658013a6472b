"""What SQLite and PostgreSQL have in common: ADBC drivers, which hand over Arrow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pyarrow as pa
from adbc_driver_manager import dbapi

from engine.mlflow.sql.database import Arguments, BadCell, Pool, Row


class AdbcDatabase(ABC):
    """A database behind an ADBC driver; connections are in autocommit mode between transactions."""

    begin: ClassVar[str]
    """Starts a read-only transaction."""

    def __init__(self) -> None:
        self.pool: Pool[dbapi.Connection] = Pool(self.connect)

    @abstractmethod
    def connect(self) -> dbapi.Connection: ...

    def translate(self, sql: str) -> str:
        """Put the driver's own placeholders for ``?``."""
        return sql

    @contextmanager
    def transaction(self) -> Iterator[dbapi.Connection]:
        """A read-only transaction on a pooled connection; a failed one ends with its connection."""
        with self.pool.lease() as connection:
            execute(connection, self.begin)
            yield connection
            execute(connection, "COMMIT")

    @contextmanager
    def session(self) -> Iterator[AdbcSession]:
        with self.transaction() as connection:
            yield AdbcSession(connection, self)

    def close(self) -> None:
        self.pool.close()


class AdbcSession:
    """Statements inside a transaction."""

    def __init__(self, connection: dbapi.Connection, database: AdbcDatabase) -> None:
        self._connection = connection
        self._database = database

    def rows(self, sql: str, kinds: str, args: Arguments = ()) -> list[Row]:
        with self._connection.cursor() as cursor:
            cursor.execute(self._database.translate(sql), list(args))
            table = cursor.fetch_arrow_table()
        columns = zip(table.schema.names, table.columns, kinds, strict=True)
        return list(zip(*(_cells(name, column, kind) for name, column, kind in columns), strict=True))


def execute(connection: dbapi.Connection, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def _cells(name: str, column: pa.ChunkedArray[Any], kind: str) -> list[Any]:
    """The values of a column as Python's, if they are what the schema says."""
    if column.null_count == len(column):
        return [None] * len(column)
    found = column.type
    if kind == "t" and (pa.types.is_string(found) or pa.types.is_large_string(found)):
        try:
            return list(column.to_pylist())
        except UnicodeDecodeError:
            # SQLite keeps any bytes as text. Lone surrogates mark the bad ones for the mapping to report.
            raw = column.cast(pa.binary()).to_pylist()
            return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in raw]
    if kind == "i" and pa.types.is_boolean(found):
        return list(column.cast(pa.int8()).to_pylist())
    if (kind in "if" and pa.types.is_integer(found)) or (kind == "f" and pa.types.is_floating(found)):
        return list(column.to_pylist())
    raise BadCell(f"column {name} holds {found} values")
