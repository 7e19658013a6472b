"""The records of the sandbox: one SQLite file in WAL mode, one connection, plain SQL.

Modules own their tables: each calls ``tables(ddl)`` once at import. Statements run on the event loop,
because they are short; whoever reads a lot iterates ``rows`` instead of loading all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

Row: TypeAlias = sqlite3.Row
Parameters: TypeAlias = Sequence[Any] | dict[str, Any]

LAYOUT = 1
"""Version of the tables, kept in ``PRAGMA user_version``."""

_DDL: list[str] = []


def tables(ddl: str) -> None:
    """Register ``CREATE … IF NOT EXISTS`` statements; they run when a database is opened."""
    _DDL.append(ddl)


class Database:
    """One SQLite file.

    Raises:
        RuntimeError: the file was written with another layout of tables.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._depth = 0
        self._after_commit: list[Callable[[], None]] = []
        # NORMAL keeps the file consistent after a crash; the last commits may be lost with the machine only.
        for pragma in (
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
            "cache_size=-65536",
            "temp_store=MEMORY",
        ):
            self._connection.execute(f"PRAGMA {pragma}")
        (layout,) = self._connection.execute("PRAGMA user_version").fetchone()
        if layout not in (0, LAYOUT):
            self._connection.close()
            raise RuntimeError(f"{path} has layout {layout}, this version reads {LAYOUT}")
        with self.transaction():
            for ddl in _DDL:
                for statement in _statements(ddl):
                    self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version={LAYOUT}")

    def close(self) -> None:
        """Fold the write-ahead log into the file and close it."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All or nothing. A nested one joins the outer. The block must not await.

        What ``after_commit`` was given runs when the outermost one is committed. What that raises is raised
        here, the commit stands.
        """
        if self._depth == 0:
            self._connection.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._depth -= 1
            if self._depth == 0:
                self._after_commit.clear()
                self._connection.execute("ROLLBACK")
            raise
        self._depth -= 1
        if self._depth == 0:
            self._connection.execute("COMMIT")
            actions, self._after_commit = self._after_commit, []
            for action in actions:
                action()

    def after_commit(self, action: Callable[[], None]) -> None:
        """Do what no rollback can undo once the transaction is committed, never if it is rolled back."""
        assert self._depth, "an action after a commit needs a transaction"
        self._after_commit.append(action)

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one statement; returns the number of rows that it changed."""
        return self._connection.execute(sql, parameters).rowcount

    def execute_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each set of parameters."""
        self._connection.executemany(sql, parameters)

    def insert(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one INSERT; returns the new row's id."""
        identity = self._connection.execute(sql, parameters).lastrowid
        assert identity is not None
        return identity

    def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """The first row, if any."""
        row: Row | None = self._connection.execute(sql, parameters).fetchone()
        return row

    def value(self, sql: str, parameters: Parameters = ()) -> Any:
        """The first column of the first row; None if there is no row."""
        row = self.one(sql, parameters)
        return None if row is None else row[0]

    def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """All rows at once."""
        return self._connection.execute(sql, parameters).fetchall()

    def rows(self, sql: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """Rows one by one, never all in memory; whoever stops early closes the cursor."""
        return self._connection.execute(sql, parameters)


def _statements(ddl: str) -> Iterable[str]:
    statement = ""
    for line in ddl.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    assert not statement.strip(), f"unfinished statement: {statement}"
