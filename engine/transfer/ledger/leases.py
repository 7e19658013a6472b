"""Who works on a migration, and on which of its runs: blocking calls on the ledger.

Whoever takes part says so again every few seconds; who has been silent for ``LEASE_S``, or whose process can
be seen to be gone, is struck off, and what it had in hand can be taken by others. Each commit of an engine
also renews its lease, and fails if it was struck off: an engine that slept through its lease can tell the
ledger nothing any more. All times are those of the database, so clocks need not agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict, fields
from enum import Enum

import sqlalchemy as sa

from engine.errors import ConfigError, Outage
from engine.transfer.ledger.holder import Holder
from engine.transfer.ledger.items import RunKey
from engine.transfer.ledger.lock import in_use
from engine.transfer.ledger.schema import CLAIM, MIGRATION, PARTICIPANT
from engine.transfer.ledger.store import Store, storable

LEASE_S = 30.0
BEAT_S = LEASE_S / 3

LOOK_S = 1.0
"""Between looks at what other engines have in hand, when there is nothing else to do."""


class Claim(Enum):
    """What came of asking for a run."""

    MINE = 1
    ELSEWHERE = 2
    """Another engine has it in hand."""
    TRIED = 3
    """Another engine, while this one is at work too, brought it as far as it could."""


class Leases:
    """The part of one engine in a migration.

    Args:
        holder: this engine.
        lease_s: after so much silence it is struck off.
    """

    def __init__(self, store: Store, migration: int, holder: Holder, lease_s: float = LEASE_S) -> None:
        self._store = store
        self._migration = migration
        self._me = holder
        self._lease_ms = int(lease_s * 1000)
        self._renewed_at = 0

    def join(self) -> None:
        """Take part.

        Raises:
            ConfigError: others are at work, and they or this one want to be alone.
        """
        with self._store.writing() as connection:
            self._lock(connection)
            now = self._store.now(connection)
            self._strike_off(connection, now)
            others = [_holder(row) for row in connection.execute(_OTHERS, self._where()).mappings()]
            for other in others:
                self._check(other)
            if not others:
                connection.execute(_FORGET_CLAIMS, self._where())
            connection.execute(
                sa.insert(PARTICIPANT).values(
                    **asdict(self._me), migration=self._migration, expires_at=now + self._lease_ms
                )
            )
            self._renewed_at = now

    def _check(self, other: Holder) -> None:
        if not (other.shares and self._me.shares):
            raise in_use(f"the ledger {self._store.shown}", other, "--ledger")
        if self._store.is_sqlite and other.machine != self._me.machine:
            raise ConfigError(
                f"the ledger {self._store.shown} is in use by {other}, on another machine",
                remedy="a file cannot be shared by machines; use --ledger postgresql://… on all of them",
            )

    def leave(self) -> None:
        """Give back what is in hand, and what was tried too if nobody else is at work."""
        with self._store.writing() as connection:
            connection.execute(_GIVE_BACK, self._where())
            connection.execute(sa.delete(PARTICIPANT).where(PARTICIPANT.c.id == self._me.id))
            if connection.execute(_OTHERS, self._where()).first() is None:
                connection.execute(_FORGET_CLAIMS, self._where())

    def renew(self, connection: sa.Connection) -> None:
        """Go on for another ``lease_s``, as part of a transaction.

        Raises:
            Outage: this engine was silent for too long and was struck off.
        """
        now = self._store.now(connection)
        renewed = connection.execute(_RENEW, {"me": self._me.id, "until": now + self._lease_ms})
        if not renewed.rowcount:
            raise Outage(
                f"nothing was heard of this engine for {self._lease_ms / 1000:g} s, so that its place in the "
                f"ledger {self._store.shown} was given to others",
                remedy="run the same command again",
            )
        self._renewed_at = now

    def beat(self) -> None:
        """Renew, with nothing else to write.

        Raises:
            Outage: as ``renew``.
        """
        with self._store.writing() as connection:
            self.renew(connection)

    def claim(self, keys: Collection[RunKey]) -> dict[RunKey, Claim]:
        """Take those runs that nobody has, also from engines that are gone."""
        # In one order for all, so that two engines never wait for each other.
        rows = sorted((storable(project), storable(run)) for project, run in keys)
        taken: dict[RunKey, Claim] = {}
        with self._store.writing() as connection:
            last = self._renewed_at
            self.renew(connection)
            # Whoever was cut off itself cannot know who else was.
            if self._renewed_at - last < self._lease_ms:
                self._strike_off(connection, self._renewed_at)
            claim = self._store.insert(CLAIM).on_conflict_do_nothing()
            values = {"migration": self._migration, "participant": self._me.id, "tried": False}
            connection.execute(claim, [{**values, "project": p, "run": r} for p, r in rows])
            for project, runs in _by_project(rows).items():
                where = {"m": self._migration, "p": project, "r": runs}
                for row in connection.execute(_CLAIMS, where):
                    taken[project, row.run] = self._outcome(row.participant, tried=row.tried)
        return {(p, r): taken.get((storable(p), storable(r)), Claim.ELSEWHERE) for p, r in keys}

    def _outcome(self, participant: str, *, tried: bool) -> Claim:
        if tried:
            return Claim.TRIED
        return Claim.MINE if participant == self._me.id else Claim.ELSEWHERE

    def end(self, connection: sa.Connection, runs: Collection[tuple[RunKey, bool]]) -> None:
        """Give runs back, as part of a transaction.

        Args:
            runs: each with whether the ledger proves it, so that nobody will want it again.
        """
        for proven in (True, False):
            keys = [(storable(p), storable(r)) for (p, r), known in runs if known is proven]
            where = [{"m": self._migration, "p": p, "r": r, "me": self._me.id} for p, r in sorted(keys)]
            if where:
                connection.execute(_END if proven else _TRIED, where)

    def others(self) -> list[Holder]:
        """The other engines that are at work."""
        with self._store.reading() as connection:
            return [_holder(row) for row in connection.execute(_OTHERS, self._where()).mappings()]

    def _lock(self, connection: sa.Connection) -> None:
        """Nobody else joins until this transaction ends."""
        same = {MIGRATION.c.created_at: MIGRATION.c.created_at}
        connection.execute(sa.update(MIGRATION).where(MIGRATION.c.id == self._migration).values(same))

    def _strike_off(self, connection: sa.Connection, now: int) -> None:
        """Those whose lease is over, or whose process is gone."""
        for row in list(connection.execute(_OTHERS, self._where()).mappings()):
            if row["expires_at"] > now and not self._me.is_gone(_holder(row)):
                continue
            seen = {"id": row["id"], "seen": row["expires_at"]}
            # Not if it came back at this moment.
            if connection.execute(_STRIKE_OFF, seen).rowcount:
                connection.execute(_GIVE_BACK, {"me": row["id"], "m": self._migration})

    def _where(self) -> dict[str, object]:
        return {"m": self._migration, "me": self._me.id}


_COLUMNS = [field.name for field in fields(Holder)]
_MINE = CLAIM.c.participant == sa.bindparam("me")
_OF_MIGRATION = CLAIM.c.migration == sa.bindparam("m")
_RUN = (_OF_MIGRATION, CLAIM.c.project == sa.bindparam("p"), CLAIM.c.run == sa.bindparam("r"), _MINE)

_OTHERS = (
    sa.select(PARTICIPANT)
    .where(PARTICIPANT.c.migration == sa.bindparam("m"), PARTICIPANT.c.id != sa.bindparam("me"))
    .order_by(PARTICIPANT.c.since)
)
_RENEW = (
    sa.update(PARTICIPANT)
    .where(PARTICIPANT.c.id == sa.bindparam("me"))
    .values(expires_at=sa.bindparam("until"))
)
_STRIKE_OFF = sa.delete(PARTICIPANT).where(
    PARTICIPANT.c.id == sa.bindparam("id"), PARTICIPANT.c.expires_at == sa.bindparam("seen")
)
_GIVE_BACK = sa.delete(CLAIM).where(_OF_MIGRATION, _MINE, sa.not_(CLAIM.c.tried))
_FORGET_CLAIMS = sa.delete(CLAIM).where(_OF_MIGRATION)
_END = sa.delete(CLAIM).where(*_RUN)
_TRIED = sa.update(CLAIM).where(*_RUN).values(tried=True)
_CLAIMS = sa.select(CLAIM.c.run, CLAIM.c.participant, CLAIM.c.tried).where(
    _OF_MIGRATION,
    CLAIM.c.project == sa.bindparam("p"),
    CLAIM.c.run.in_(sa.bindparam("r", expanding=True)),
)


def _holder(row: sa.RowMapping) -> Holder:
    return Holder(**{name: row[name] for name in _COLUMNS})


def _by_project(keys: Iterable[RunKey]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for project, run in keys:
        found[project].append(run)
    return found
