"""What a ledger says of its migrations, read while an engine writes it or afterwards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import sqlalchemy as sa

from engine.errors import ConfigError
from engine.transfer.ledger.causes import normalised
from engine.transfer.ledger.items import MEMOS, Cause, Kind, State
from engine.transfer.ledger.ledger import LEDGER
from engine.transfer.ledger.schema import ITEM, MIGRATION
from engine.transfer.ledger.store import Store, sqlite_url

CAUSES = 20
"""Causes that are told of a migration at most, the most frequent first."""

EXAMPLES = 5
"""Items that are named for each cause."""

MESSAGES = 20_000
"""Different messages that are looked at, the most frequent first; grouping them costs time."""

TALLIED = tuple(kind for kind in Kind if kind not in MEMOS)

Counts = Mapping[Kind, Mapping[State, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A run of which something failed, by its path at the source, and what was said."""

    subject: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Items that failed for the same reason.

    Attributes:
        cause: as the last of them told it.
        pattern: what their messages have in common.
        first_at: when the first of them failed, as far as it still counts as failed; ms.
        last_at: when the last of them did; ms.
        examples: some of them.
    """

    cause: Cause
    pattern: str
    kind: Kind
    count: int
    first_at: int
    last_at: int
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What arrived: metric points, files and bytes."""

    points: int = 0
    files: int = 0
    bytes: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            points=self.points + other.points,
            files=self.files + other.files,
            bytes=self.bytes + other.bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectStatus:
    """One project of the source, and where its runs went."""

    project: str
    destination: str
    counts: Counts
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """One migration. ``created_at`` is in milliseconds.

    Attributes:
        projects: by name.
        failures: by cause, the most frequent first, at most ``CAUSES``.
        causes: how many causes there are.
    """

    source: str
    destination: str
    created_at: int
    counts: Counts
    totals: Totals
    projects: tuple[ProjectStatus, ...]
    failures: tuple[Failures, ...]
    causes: int

    def count(self, kind: Kind, *states: State) -> int:
        """Items of a kind in any of these states, or in any at all."""
        counts = self.counts.get(kind, {})
        return sum(counts.get(state, 0) for state in states or State)

    @property
    def unfinished(self) -> bool:
        """Whether the same command again has something to do."""
        return any(self.count(kind, State.PENDING, State.FAILED) for kind in self.counts)


def read_status(state_dir: Path, ledger: str | None = None) -> list[MigrationStatus]:
    """All migrations of a ledger, in the order in which they were begun.

    Args:
        state_dir: where the file with the ledger is.
        ledger: URL of a database that has it instead.

    Raises:
        ConfigError: there is no ledger.
        EngineError: it cannot be read.
    """
    if ledger is None:
        path = state_dir / LEDGER
        if not path.is_file():
            raise ConfigError(
                f"there is no ledger in {state_dir}",
                remedy="name the directory of the transfer with --state-dir",
            )
        ledger = sqlite_url(path)
    store = Store(ledger, writes=False)
    try:
        if not store.exists():
            raise ConfigError(f"there is no ledger in {store.shown}", remedy="name another one with --ledger")
        return status_of(store)
    finally:
        store.close()


def status_of(store: Store) -> list[MigrationStatus]:
    """All migrations of a ledger."""
    with store.reading() as connection:
        return [
            _migration(connection, row)
            for row in connection.execute(sa.select(MIGRATION).order_by(MIGRATION.c.id)).all()
        ]


def _migration(connection: sa.Connection, row: sa.Row[tuple[object, ...]]) -> MigrationStatus:
    projects = _projects(connection, row.id)
    causes = _causes(connection, row.id)
    return MigrationStatus(
        source=row.source,
        destination=row.destination,
        created_at=row.created_at,
        counts=_summed(project.counts for project in projects),
        totals=sum((project.totals for project in projects), Totals()),
        projects=tuple(projects),
        failures=tuple(causes[:CAUSES]),
        causes=len(causes),
    )


def _projects(connection: sa.Connection, migration: int) -> list[ProjectStatus]:
    # One pass in the order of the primary key answers for all numbers.
    query = (
        sa.select(
            ITEM.c.project,
            ITEM.c.kind,
            ITEM.c.state,
            sa.func.count(),
            sa.func.max(ITEM.c.destination),
            *(sa.func.sum(column) for column in (ITEM.c.points, ITEM.c.files, ITEM.c.bytes)),
        )
        .where(ITEM.c.migration == migration, ITEM.c.kind.in_(TALLIED))
        .group_by(ITEM.c.project, ITEM.c.kind, ITEM.c.state)
    )
    counts: dict[str, dict[Kind, dict[State, int]]] = defaultdict(lambda: defaultdict(dict))
    totals: dict[str, Totals] = defaultdict(Totals)
    places: dict[str, str] = {}
    for project, kind, state, count, place, points, files, size in connection.execute(query):
        counts[project][Kind(kind)][State(state)] = count
        totals[project] += Totals(points=int(points), files=int(files), bytes=int(size))
        places[project] = max(places.get(project, ""), place)
    return [
        ProjectStatus(
            project=project, destination=places[project], counts=_summed([found]), totals=totals[project]
        )
        for project, found in sorted(counts.items())
    ]


def _summed(several: Iterable[Counts]) -> Counts:
    """The counts of several, with the kinds in their order."""
    found: dict[Kind, dict[State, int]] = defaultdict(lambda: defaultdict(int))
    for counts in several:
        for kind, states in counts.items():
            for state, count in states.items():
                found[kind][state] += count
    return {kind: dict(found[kind]) for kind in Kind if kind in found}


@dataclass(slots=True)
class _Group:
    """Failures of one cause, while they are counted."""

    failures: Failures
    examples: list[Example] = field(default_factory=list)


def _causes(connection: sa.Connection, migration: int) -> list[Failures]:
    # A run that failed because of its parts has no cause of its own.
    said = (ITEM.c.error_kind, ITEM.c.error_side, ITEM.c.error, ITEM.c.remedy, ITEM.c.kind)
    # What belongs to no run has a name of its own.
    subject = ITEM.c.project + "/" + sa.case((ITEM.c.run == "", ITEM.c.name), else_=ITEM.c.run)
    count = sa.func.count()
    query = (
        sa.select(
            *said,
            count,
            sa.func.min(ITEM.c.last_at),
            sa.func.max(ITEM.c.last_at),
            sa.func.min(subject),
            sa.func.max(subject),
        )
        .where(
            ITEM.c.migration == migration,
            # A constant, so that SQLite can see that the partial index serves.
            ITEM.c.state == sa.literal_column(f"'{State.FAILED}'"),
            ITEM.c.error_kind.is_not(None),
        )
        .group_by(*said)
        .order_by(count.desc())
        .limit(MESSAGES)
    )
    groups: dict[tuple[str, str, str, str], _Group] = {}
    for error_kind, side, message, remedy, kind, number, first, last, *subjects in connection.execute(query):
        pattern = normalised(message)
        found = Failures(
            cause=Cause(kind=error_kind, side=side, message=message, remedy=remedy),
            pattern=pattern,
            kind=Kind(kind),
            count=number,
            first_at=first,
            last_at=last,
            examples=(),
        )
        group = groups.setdefault((error_kind, side, kind, pattern), _Group(replace(found, count=0)))
        group.failures = _joined(group.failures, found)
        for example in sorted(set(subjects))[: EXAMPLES - len(group.examples)]:
            group.examples.append(Example(subject=example.rstrip("/"), message=message))
    return sorted(
        (replace(group.failures, examples=tuple(group.examples)) for group in groups.values()),
        key=lambda failures: (-failures.count, -failures.last_at),
    )


def _joined(one: Failures, other: Failures) -> Failures:
    latest = max(one, other, key=lambda failures: failures.last_at)
    return replace(
        latest,
        count=one.count + other.count,
        first_at=min(one.first_at, other.first_at),
    )
