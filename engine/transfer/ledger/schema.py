"""The tables of a ledger, the same in SQLite and PostgreSQL.

``migration``: one row for each pair of a source and a destination that were ever transferred with it.
``item``: one row for each thing that was moved or was to be moved. A run and its parts sort together, so
that one look at the primary key tells all about a run; the other two indexes answer ``engine status``.
``identity``: the ids that runs got at a place where they could not keep their own.
``participant``: the engines that are at work on a migration, each until ``expires_at`` (ms).
``claim``: the runs that one of them has in hand, or that it ``tried`` without the ledger proving them now.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from engine.transfer.ledger.items import State

TABLES = MetaData()

# SQLite only numbers rows by itself in a column that is declared INTEGER.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")


MIGRATION = Table(
    "migration",
    TABLES,
    Column("id", _NUMBER, primary_key=True, autoincrement=True),
    Column("source", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("source", "destination"),
)

ITEM = Table(
    "item",
    TABLES,
    Column("migration", ForeignKey("migration.id"), primary_key=True),
    Column("project", Text, primary_key=True),
    Column("run", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("fingerprint", Text),
    Column("content", Text),
    Column("parts", Text, nullable=False),
    Column("note", Text),
    Column("attempts", Integer, nullable=False),
    Column("error_kind", Text),
    Column("error_side", Text),
    Column("error", Text),
    Column("remedy", Text),
    Column("points", BigInteger, nullable=False),
    Column("files", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index("item_by_state", ITEM.c.migration, ITEM.c.kind, ITEM.c.state)
Index(
    "item_failed",
    ITEM.c.migration,
    ITEM.c.error_kind,
    ITEM.c.error_side,
    sqlite_where=ITEM.c.state == State.FAILED,
    postgresql_where=ITEM.c.state == State.FAILED,
)
KEY = tuple(column.name for column in ITEM.primary_key)

IDENTITY = Table(
    "identity",
    TABLES,
    Column("migration", ForeignKey("migration.id"), primary_key=True),
    Column("project", Text, primary_key=True),
    Column("run", Text, primary_key=True),
    Column("place", Text, primary_key=True),
    Column("id", Text, nullable=False),
    Column("given_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

PARTICIPANT = Table(
    "participant",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("migration", ForeignKey("migration.id"), nullable=False),
    Column("machine", Text, nullable=False),
    Column("processes", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("since", Text, nullable=False),
    Column("command", Text),
    Column("shares", Boolean, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

CLAIM = Table(
    "claim",
    TABLES,
    Column("migration", ForeignKey("migration.id"), primary_key=True),
    Column("project", Text, primary_key=True),
    Column("run", Text, primary_key=True),
    Column("participant", Text, nullable=False),
    Column("tried", Boolean, nullable=False),
    sqlite_with_rowid=False,
)
