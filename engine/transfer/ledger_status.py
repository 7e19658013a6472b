"""What a ledger says of its migrations, read while an engine writes it or afterwards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from engine.errors import ConfigError
from engine.transfer.ledger import LEDGER
from engine.transfer.ledger_schema import ITEM, MIGRATION, Kind, State
from engine.transfer.ledger_store import Cause, Store, sqlite_url

CAUSES = 20
"""Causes that are told of a migration at most, the most frequent first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Items that failed for the same reason.

    Attributes:
        example: one of them.
    """

    cause: Cause
    kind: Kind
    count: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """One migration. ``created_at`` is in milliseconds."""

    source: str
    destination: str
    created_at: int
    counts: Mapping[Kind, Mapping[State, int]]
    failures: tuple[Failures, ...]


def read_status(state_dir: Path) -> list[MigrationStatus]:
    """All migrations in a state directory, in the order in which they were begun.

    Raises:
        ConfigError: there is no ledger.
    """
    path = state_dir / LEDGER
    if not path.is_file():
        raise ConfigError(
            f"there is no ledger in {state_dir}", remedy="name the directory of the transfer with --state-dir"
        )
    store = Store(sqlite_url(path), writes=False)
    try:
        return status_of(store)
    finally:
        store.close()


def status_of(store: Store) -> list[MigrationStatus]:
    """All migrations of a ledger."""
    with store.reading() as connection:
        return [
            MigrationStatus(
                source=row.source,
                destination=row.destination,
                created_at=row.created_at,
                counts=_counts(connection, row.id),
                failures=_failures(connection, row.id),
            )
            for row in connection.execute(sa.select(MIGRATION).order_by(MIGRATION.c.id))
        ]


def _counts(connection: sa.Connection, migration: int) -> Mapping[Kind, Mapping[State, int]]:
    query = (
        sa.select(ITEM.c.kind, ITEM.c.state, sa.func.count())
        .where(ITEM.c.migration == migration)
        .group_by(ITEM.c.kind, ITEM.c.state)
    )
    found: dict[Kind, dict[State, int]] = defaultdict(dict)
    for kind, state, count in connection.execute(query):
        found[Kind(kind)][State(state)] = count
    return {kind: found[kind] for kind in Kind if kind in found}


def _failures(connection: sa.Connection, migration: int) -> tuple[Failures, ...]:
    count = sa.func.count().label("count")
    # A run that failed because of its parts has no cause of its own.
    cause = (ITEM.c.error_kind, ITEM.c.error_side, ITEM.c.error, ITEM.c.remedy, ITEM.c.kind)
    query = (
        sa.select(*cause, count, sa.func.min(ITEM.c.project + "/" + ITEM.c.run).label("example"))
        .where(
            ITEM.c.migration == migration,
            # A constant, so that SQLite can see that the partial index serves.
            ITEM.c.state == sa.literal_column(f"'{State.FAILED}'"),
            ITEM.c.error_kind.is_not(None),
        )
        .group_by(*cause)
        .order_by(count.desc())
        .limit(CAUSES)
    )
    return tuple(
        Failures(
            cause=Cause(kind=error_kind, side=side, message=message, remedy=remedy),
            kind=Kind(kind),
            count=number,
            example=example.rstrip("/"),
        )
        for error_kind, side, message, remedy, kind, number, example in connection.execute(query)
    )
