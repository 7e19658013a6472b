"""The ledger as a database: blocking calls, for one thread at a time each.

SQLite is written in WAL mode with ``synchronous=FULL``: a commit that returned survives a power failure.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from engine.errors import ConfigError, Outage, Transient
from engine.transfer.ledger import url as ledger_url
from engine.transfer.ledger.items import MEMOS, Cause, Given, Item, Kind, RunKey, State
from engine.transfer.ledger.schema import IDENTITY, ITEM, KEY, MIGRATION, TABLES

BUSY_MS = 30_000

_CREATION = 0x7E5E_1ED6
"""The advisory lock of those who create tables."""

_PLAIN = [field.name for field in fields(Item) if field.name not in ("parts", "cause")]


class Store:
    """One ledger database.

    Args:
        url: ``sqlite:///…`` or ``postgresql://…``.
        durable: False for a ledger that does not outlive the process, so that it need not wait for the disk.
        writes: False to look only, also while somebody else writes.

    Raises:
        ConfigError: it cannot be opened.
    """

    def __init__(self, url: str, *, durable: bool = True, writes: bool = True) -> None:
        where = ledger_url.parse(url)
        self.shown = ledger_url.shown(where)
        try:
            self.engine = sa.create_engine(where, pool_size=4)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"the ledger {self.shown} needs a driver that is not installed: {error.name}",
                remedy="pip install 'transfer-engine[postgresql]'",
                exc=error,
            ) from error
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._upsert_item = self._upsert()
        if self.is_sqlite:
            sa.event.listen(self.engine, "connect", _pragmas("FULL" if durable else "OFF"))
        self._writes = writes
        try:
            if writes:
                self._create_tables()
        except SQLAlchemyError as error:
            self.engine.dispose()
            raise ConfigError(
                f"the ledger {self.shown} cannot be opened: {_reason(error)}",
                remedy="choose another --state-dir that can be written to"
                if self.is_sqlite
                else "check host, database, user and password, and that this user may create tables",
                exc=error,
            ) from error

    def close(self) -> None:
        """Leave one file behind, without a log beside it."""
        with self._told():
            if self.is_sqlite and self._writes:
                with self.engine.connect() as connection:
                    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        self.engine.dispose()

    def migration(self, source: str, destination: str) -> int:
        """The number of a migration, new or known."""
        values = {"source": source, "destination": destination}
        insert = self.insert(MIGRATION).values(**values, created_at=_now())
        with self.writing() as connection:
            connection.execute(insert.on_conflict_do_nothing())
            number = connection.execute(sa.select(MIGRATION.c.id).filter_by(**values)).scalar_one()
        return int(number)

    def exists(self) -> bool:
        """Whether anybody ever wrote to it."""
        with self.reading() as connection:
            return sa.inspect(connection).has_table(ITEM.name)

    def _create_tables(self) -> None:
        # One at a time: two engines that begin together must not both find a table missing.
        with self.engine.begin() as connection:
            connection.exec_driver_sql(
                "BEGIN IMMEDIATE" if self.is_sqlite else f"SELECT pg_advisory_xact_lock({_CREATION})"
            )
            TABLES.create_all(connection)

    def write(
        self, migration: int, items: Collection[Item], also: Callable[[sa.Connection], None] | None = None
    ) -> None:
        """Commit these items, later ones over earlier ones, together with what ``also`` does.

        A run that is done takes back the failures of parts that the source no longer has, and its memos.
        """
        rows = [_row(migration, item) for item in items]
        settled = [
            {"m": migration, "p": row["project"], "r": row["run"]}
            for row in rows
            if row["kind"] == Kind.RUN and row["state"] == State.DONE
        ]
        with self.writing() as connection:
            if also is not None:
                also(connection)
            if rows:
                connection.execute(self._upsert_item, rows)
            if settled:
                connection.execute(_TIDY, settled)

    def runs(self, migration: int, keys: Iterable[RunKey]) -> dict[RunKey, Item]:
        """Those of these runs that are known, without their parts."""
        wanted: dict[str, dict[str, RunKey]] = defaultdict(dict)
        for key in keys:
            wanted[storable(key[0])][storable(key[1])] = key
        found = {}
        with self.reading() as connection:
            for project, runs in wanted.items():
                where = {"m": migration, "p": project, "r": list(runs)}
                for row in connection.execute(_RUNS, where).mappings():
                    found[runs[row["run"]]] = _item(row)
        return found

    def items(self, migration: int, project: str, run: str) -> list[Item]:
        """A run and its parts."""
        where = {"m": migration, "p": storable(project), "r": storable(run)}
        with self.reading() as connection:
            return [_item(row) for row in connection.execute(_BY_RUN, where).mappings()]

    def notes(self, migration: int, project: str, run: str, kind: Kind, prefix: str) -> list[Item]:
        """Items of one kind of a run whose names begin so."""
        query = _BY_RUN.where(
            ITEM.c.kind == kind, ITEM.c.name.startswith(storable(prefix), autoescape=True)
        ).order_by(ITEM.c.name)
        where = {"m": migration, "p": storable(project), "r": storable(run)}
        with self.reading() as connection:
            found = [_item(row) for row in connection.execute(query, where).mappings()]
        # SQLite's LIKE takes small letters for capitals.
        return [item for item in found if item.name.startswith(storable(prefix))]

    def give(self, connection: sa.Connection, migration: int, given: Iterable[Given]) -> None:
        """Remember ids, later ones over earlier ones, as part of a transaction."""
        insert = self.insert(IDENTITY)
        new = {name: insert.excluded[name] for name in ("id", "given_at")}
        upsert = insert.on_conflict_do_update(index_elements=list(IDENTITY.primary_key), set_=new)
        rows = [{name: storable(text) for name, text in asdict(one).items()} for one in given]
        if rows:
            connection.execute(upsert, [{**row, "migration": migration, "given_at": _now()} for row in rows])

    def is_given(self, migration: int, given: Given) -> bool:
        """Whether a run has this id."""
        known = {name: storable(text) for name, text in asdict(given).items()}
        query = sa.select(IDENTITY.c.id).filter_by(migration=migration, **known)
        with self.reading() as connection:
            return connection.execute(query).first() is not None

    def given(self, migration: int, wanted: Callable[[Given], bool]) -> list[Given]:
        """The ids that were given and are wanted."""
        query = sa.select(IDENTITY.c.project, IDENTITY.c.run, IDENTITY.c.place, IDENTITY.c.id)
        with self.reading() as connection:
            if not sa.inspect(connection).has_table(IDENTITY.name):  # of an earlier version
                return []
            rows = connection.execute(query.where(IDENTITY.c.migration == migration)).mappings()
            return [given for given in (Given(**row) for row in rows) if wanted(given)]

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection for queries, all of which see the same moment."""
        with self._told(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction. Its first statement must be one that writes, or SQLite may have to refuse it."""
        with self._told(), self.engine.begin() as connection:
            yield connection

    def now(self, connection: sa.Connection) -> int:
        """The time in ms that all who use this ledger agree on, whatever their clocks say."""
        if self.is_sqlite:
            return _now()
        clock = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"
        return int(connection.exec_driver_sql(clock).scalar_one())

    def insert(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def _upsert(self) -> sa.Executable:
        insert = self.insert(ITEM)
        new = insert.excluded
        kept = {*KEY, "attempts", "first_at"}
        changed: dict[str, Any] = {c.name: new[c.name] for c in ITEM.columns if c.name not in kept}
        changed["attempts"] = ITEM.c.attempts + new.attempts
        return insert.on_conflict_do_update(index_elements=list(KEY), set_=changed)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn errors of the database into one that says what to do.

        Raises:
            Transient: a server of databases is gone, which may pass.
            Outage: without its ledger a transfer must not go on.
        """
        try:
            yield
        except SQLAlchemyError as error:
            if not self.is_sqlite and _is_passing(error):
                raise Transient(
                    f"the ledger {self.shown} does not answer: {_reason(error)}", exc=error
                ) from error
            raise Outage(
                f"the ledger {self.shown} cannot be written: {_reason(error)}",
                remedy="mend that and run the same command again; what it holds stays valid",
                exc=error,
            ) from error


_OF_PROJECT = (ITEM.c.migration == sa.bindparam("m"), ITEM.c.project == sa.bindparam("p"))
_OF_RUN = (*_OF_PROJECT, ITEM.c.run == sa.bindparam("r"))
_BY_RUN = sa.select(ITEM).where(*_OF_RUN)
_RUNS = sa.select(ITEM).where(
    *_OF_PROJECT,
    ITEM.c.run.in_(sa.bindparam("r", expanding=True)),
    ITEM.c.kind == Kind.RUN,
    ITEM.c.name == "",
)
# No IN: its values cannot be bound for many runs at a time.
_TIDY = sa.delete(ITEM).where(
    *_OF_RUN, sa.or_(ITEM.c.state == State.FAILED, *(ITEM.c.kind == kind for kind in MEMOS))
)


def sqlite_url(path: Path) -> str:
    return sa.URL.create("sqlite", database=str(path)).render_as_string()


def _pragmas(synchronous: str) -> Any:
    def on_connect(connection: Any, _record: object) -> None:
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", f"busy_timeout={BUSY_MS}"):
            connection.execute(f"PRAGMA {pragma}").close()

    return on_connect


def _is_passing(error: SQLAlchemyError) -> bool:
    """Whether a server may be there again later: it was lost, restarts, is full, or has too many clients."""
    return isinstance(error, OperationalError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )


def _reason(error: SQLAlchemyError) -> str:
    """What the database said, without the statement and its parameters."""
    return str(getattr(error, "orig", None) or type(error).__name__).strip().split("\n")[0]


def _now() -> int:
    return int(time.time() * 1000)


def _row(migration: int, item: Item) -> dict[str, Any]:
    now, cause = _now(), item.cause
    row = {name: getattr(item, name) for name in _PLAIN}
    row.update(
        migration=migration,
        parts=",".join(sorted(item.parts)),
        error_kind=cause and cause.kind,
        error_side=cause and cause.side,
        error=cause and cause.message,
        remedy=cause and cause.remedy,
    )
    return {
        **{name: storable(value) if isinstance(value, str) else value for name, value in row.items()},
        "first_at": now,
        "last_at": now,
    }


def storable(text: str) -> str:
    """Text that every database takes: no NUL, no lone surrogates. Nearly all text is as it was."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def _item(row: sa.RowMapping) -> Item:
    cause = None
    if row["error_kind"] is not None:
        cause = Cause(
            kind=row["error_kind"], side=row["error_side"], message=row["error"], remedy=row["remedy"]
        )
    plain = {name: row[name] for name in _PLAIN}
    plain.update(kind=Kind(row["kind"]), state=State(row["state"]))
    return Item(**plain, parts=frozenset(row["parts"].split(",")) - {""}, cause=cause)
