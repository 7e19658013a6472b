"""What a kind of database implements so that ``SqlStore`` can read an MLflow schema from it.

All of it blocks, and is called in worker threads. SQL is written with ``?`` for arguments and ``"key"`` for
the one column whose name is a reserved word somewhere; each database translates.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import pyarrow as pa

from engine.errors import EngineError

Row: TypeAlias = tuple[Any, ...]
Arguments: TypeAlias = Sequence[str | int]


class BadCell(Exception):
    """A value has another type than its column; SQLite allows that."""


class Session(Protocol):
    """A read-only transaction, in which all statements see one state of the database."""

    def rows(self, sql: str, kinds: str, args: Arguments = ()) -> list[Row]:
        """All rows of a statement.

        Args:
            sql: one SELECT.
            kinds: one letter a column: ``t`` text, ``i`` integer (booleans become 0 and 1), ``f`` float.
                Every cell is of that kind or None.
            args: values for the ``?`` in the statement.

        Raises:
            BadCell: a cell is of another kind.
        """
        ...


class Database(Protocol):
    """One database, read only."""

    uri: str
    """Without secrets."""

    product: str

    start_time: str
    """An SQL expression over ``runs`` that is never NULL and always an integer, to sort by."""

    columns: str
    """A SELECT of all pairs of table and column."""

    def session(self) -> AbstractContextManager[Session]: ...

    def points(self, run_id: str) -> Generator[pa.RecordBatch]:
        """All metric points of a run, in any order.

        Batches have at most ``MetricPoints.CHUNK_POINTS`` rows and start with the columns key, step,
        timestamp, value, is_nan. Closing the generator releases what it holds.
        """
        ...

    def explain(self, error: Exception) -> EngineError | None:
        """What an error of the driver means; None if it is not one of the driver's."""
        ...

    def close(self) -> None: ...


class Closable(Protocol):
    def close(self) -> None: ...


ConnectionT = TypeVar("ConnectionT", bound=Closable)


class Pool(Generic[ConnectionT]):
    """Open connections for reuse by any thread, last used first.

    It sets no limit: as many connections exist as are used at the same time.
    """

    def __init__(self, connect: Callable[[], ConnectionT]) -> None:
        self._connect = connect
        # list.append and list.pop are atomic, which is all the locking that this needs.
        self._idle: list[ConnectionT] = []
        self._closed = False

    @contextmanager
    def lease(self) -> Iterator[ConnectionT]:
        """A connection for the block. One whose block raises or is left early is closed, not reused."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
            # A source may be opened again, for example to move what was planned.
            self._closed = False
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()


def slices(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    """A batch in pieces of at most so many rows, without copying."""
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)
