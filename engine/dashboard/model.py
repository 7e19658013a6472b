"""Everything that is known of the migrations of a state directory, ready to be shown in any form."""

from __future__ import annotations

import shlex
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import __version__
from engine.dashboard import readable
from engine.dashboard.certificate import Certificate, read_certificate
from engine.dashboard.sessions import Session, read_sessions
from engine.dashboard.timeline import Timeline, timeline_of
from engine.records import Loss
from engine.transfer.ledger.items import Kind, State
from engine.transfer.ledger.status import MigrationStatus, read_status

INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class LossKind:
    """Values that did not arrive as they were, of one kind."""

    kind: str
    count: int
    examples: tuple[Loss, ...]

    @property
    def words(self) -> str:
        return self.kind.replace("_", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to make of it: ``tone`` is ``good``, ``bad`` or ``open``."""

    tone: str
    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One pair of a source and a destination.

    Attributes:
        sessions: the transfers of it, oldest first, as far as there are logs.
        charted: the one of which ``timeline`` tells: the last that moved something.
        command: brings the rest.
    """

    status: MigrationStatus
    sessions: tuple[Session, ...]
    charted: Session | None
    timeline: Timeline | None
    losses: tuple[LossKind, ...]
    certificate: Certificate | None
    command: str

    @property
    def running(self) -> Session | None:
        return next((session for session in reversed(self.sessions) if session.running), None)

    @property
    def failed_items(self) -> int:
        """Items with a cause of their own that did not arrive."""
        return sum(failures.count for failures in self.status.failures)

    @property
    def elapsed_s(self) -> float:
        return sum(session.elapsed_s for session in self.sessions)

    @property
    def verdict(self) -> Verdict:
        """In words."""
        return _verdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All migrations of a state directory at one moment (Unix seconds)."""

    at: float
    version: str
    state_dir: Path
    migrations: tuple[Migration, ...]


def build_report(
    state_dir: Path, only: tuple[str, str] | None = None, *, ledger: str | None = None
) -> Report:
    """What ledger, session logs and certificate of a directory tell.

    Args:
        only: source and destination of the migration that is wanted.
        ledger: URL of the database with the ledger, if it is not in the directory.

    Raises:
        ConfigError: there is no ledger.
    """
    statuses = read_status(state_dir, ledger)
    sessions = read_sessions(state_dir)
    certificate = read_certificate(state_dir)
    return Report(
        at=time.time(),
        version=__version__,
        state_dir=state_dir,
        migrations=tuple(
            _migration(status, sessions, certificate)
            for status in statuses
            if only is None or only == (status.source, status.destination)
        ),
    )


def _migration(
    status: MigrationStatus, sessions: Collection[Session], certificate: Certificate | None
) -> Migration:
    own = tuple(s for s in sessions if (s.source, s.destination) == (status.source, status.destination))
    charted = next((s for s in reversed(own) if s.last.runs_done or s.last.points or s.last.bytes), None)
    charted = charted or (own[-1] if own else None)
    command = next((s.command for s in reversed(own) if s.command), None)
    return Migration(
        status=status,
        sessions=own,
        charted=charted,
        timeline=timeline_of(charted) if charted else None,
        losses=_losses(own),
        certificate=certificate
        if certificate and certificate.is_of(status.source, status.destination)
        else None,
        command=command or shlex.join(["engine", "migrate", status.source, status.destination]),
    )


def _losses(sessions: Sequence[Session]) -> tuple[LossKind, ...]:
    counts: Counter[str] = Counter()
    examples: dict[str, dict[Loss, None]] = defaultdict(dict)
    for session in sessions:
        counts.update(session.losses)
        for loss in session.loss_examples:
            examples[loss.kind].setdefault(loss)
    return tuple(
        LossKind(kind=kind, count=count, examples=tuple(examples[kind]))
        for kind, count in counts.most_common()
    )


def _verdict(migration: Migration) -> Verdict:
    status, running = migration.status, migration.running
    done, all_runs = status.count(Kind.RUN, State.DONE), status.count(Kind.RUN)
    last = migration.sessions[-1] if migration.sessions else None
    found = all_runs
    if last is not None and last.exit_status in (None, INTERRUPTED):
        # The ledger knows those that were begun; the transfer had listed more.
        found = max(all_runs, last.last.runs_found)
    arrived = f"{readable.number(done)} of {readable.counted(found, 'run')} arrived whole."
    if running is not None:
        return Verdict(tone="open", title="Under way", text=_so_far(running))
    if last is not None and last.error and last.exit_status != 0:
        return Verdict(tone="bad", title="Stopped before the end", text=f"{last.error}. {arrived}")
    if migration.failed_items or status.count(Kind.RUN, State.FAILED):
        items = migration.failed_items or status.count(Kind.RUN, State.FAILED)
        return Verdict(tone="bad", title=f"{readable.counted(items, 'item')} did not arrive", text=arrived)
    if last is not None and last.exit_status in (None, INTERRUPTED):
        how = "Interrupted" if last.exit_status or last.ended_at else "Ended without a word"
        return Verdict(tone="open", title=how, text=f"{arrived} The same command brings the rest.")
    return _at_the_end(migration, all_runs)


def _at_the_end(migration: Migration, all_runs: int) -> Verdict:
    """Nothing failed and nothing stopped it."""
    status, certificate = migration.status, migration.certificate
    if certificate is not None and certificate.difference_count:
        found = readable.counted(certificate.difference_count, "difference")
        return Verdict(tone="bad", title=f"Arrived, with {found}", text="Verification compared both sides.")
    if not all_runs:
        return Verdict(tone="open", title="Nothing was transferred yet", text="The ledger has no run.")
    if pending := status.count(Kind.RUN, State.PENDING):
        return Verdict(
            tone="open",
            title="Arrived as far as it is known",
            text=f"{readable.counted(pending, 'run')} {'goes' if pending == 1 else 'go'} on at the source, "
            "or did not come to an end.",
        )
    verified = " and was verified" if certificate else ""
    moved = migration.sessions and migration.sessions[-1].last
    unchanged = moved and moved.runs_skipped and moved.runs_skipped == moved.runs_found
    again = " The last transfer found nothing changed and wrote nothing." if unchanged else ""
    return Verdict(
        tone="good",
        title=f"Everything arrived{verified}",
        text=f"{readable.counted(all_runs, 'run')} {'is' if all_runs == 1 else 'are'} complete.{again}",
    )


def _so_far(session: Session) -> str:
    last, rates = session.last, session.rates()
    ended = last.runs_done + last.runs_failed + last.runs_skipped
    more = " or more" if last.enumerating else ""
    text = f"{readable.number(ended)} of {readable.counted(last.runs_found, 'run')}{more}"
    if rates is not None:
        text += f", {readable.scaled(rates.points)} points/s, {readable.size(rates.bytes)}/s"
        left = last.runs_found - ended
        if rates.runs > 0 and left > 0 and not last.enumerating:
            text += f", about {readable.duration(left / rates.runs)} left"
    return f"{text}." + (f" Waiting: {last.waiting[0]}." if last.waiting else "")
