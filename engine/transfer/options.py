"""What a caller can ask of a transfer, and what comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

from engine.records import Loss, Selection
from engine.transfer.context import Context, Counters, LossLedger
from engine.transfer.events import ItemFailed, Progress
from engine.transfer.throttling.bandwidth import Bandwidth
from engine.transfer.throttling.breaker import PATIENCE_S
from engine.transfer.throttling.budget import DEFAULT_BYTES_IN_FLIGHT, ByteBudget
from engine.transfer.throttling.throttle import DEFAULT_CONCURRENCY, Endpoint, Throttles


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to transfer, and how much of it.

    Peak memory is about ``max_bytes_in_flight`` of payload, plus one history window per history worker
    (tens of MB), plus the interpreter; it does not grow with the number of runs, points or files.

    Attributes:
        selection: which runs.
        runs: whether to move runs at all; without them only what comes after them is moved.
        history: whether to move metric histories.
        files: whether to move run files.
        artifacts: whether to move artifacts.
        reports: whether to move reports and saved views.
        remap: source namespace or project name → ``entity/project`` or ``project``.
        concurrency: requests in flight at most, for each host and class of endpoint. None: by class.
        max_rps: requests per second at most, for each host and class of endpoint.
        patience_s: how long a side may be gone before the transfer gives up; it pauses until then.
        max_bytes_in_flight: payload bytes in memory at most.
        bandwidth: bytes of files and artifacts per second at most, on each side. None: no limit.
        open_runs: runs being written at the same time.
        history_workers: histories being moved at the same time.
        artifact_workers: artifacts (each with many files in flight) being moved at the same time.
        spool: directory for temporary data; None means the system's.
        state_dir: where the ledger is kept, by which a later transfer knows what need not be done again.
            None: it is gone with the engine, so that every transfer begins anew.
        ledger: URL of the database with the ledger, ``postgresql://…``; None: a file in ``state_dir``.
        share: divide the runs with other engines that share the same transfer, the same ledger, and say so.
        incremental: leave out what the ledger proves, instead of applying everything again.
        recheck_artifacts: list the artifacts of proven runs too, as MLflow lets them change without a trace
            in the run.
        old_ledger: directory in which W&B's own importer left its ledger; runs that it proves and the
            destination has are left out.
        accepted: as ``Context.accepted``.
        command: by which a person can do it again, without secrets; told in the session log.
    """

    selection: Selection = field(default_factory=Selection)
    runs: bool = True
    history: bool = True
    files: bool = True
    artifacts: bool = True
    reports: bool = True
    remap: Mapping[str, str] = field(default_factory=dict)
    concurrency: int | None = None
    max_rps: float | None = None
    patience_s: float = PATIENCE_S
    max_bytes_in_flight: int = DEFAULT_BYTES_IN_FLIGHT
    bandwidth: int | None = None
    open_runs: int = 16
    history_workers: int = 4
    artifact_workers: int = 8
    spool: Path | None = None
    state_dir: Path | None = None
    ledger: str | None = field(default=None, repr=False)
    share: bool = False
    incremental: bool = True
    recheck_artifacts: bool = False
    old_ledger: Path | None = None
    accepted: AbstractSet[str] = frozenset()
    command: str | None = None

    def context(self, spool: Path, counters: Counters, losses: LossLedger) -> Context:
        """What the kernel lends to both sides under these options."""
        return Context(
            spool=spool,
            remap=self.remap,
            budget=ByteBudget(self.max_bytes_in_flight),
            throttles=Throttles(self.concurrency, self.max_rps, self.patience_s),
            concurrency=self.concurrency or DEFAULT_CONCURRENCY[Endpoint.OBJECTS],
            downloads=Bandwidth(self.bandwidth),
            uploads=Bandwidth(self.bandwidth),
            patience_s=self.patience_s,
            accepted=self.accepted,
            counters=counters,
            losses=losses,
        )

    @property
    def parts(self) -> frozenset[str]:
        """The kinds of parts of a run that are moved."""
        wanted = {"history": self.history, "files": self.files, "artifacts": self.artifacts}
        return frozenset(part for part, moved in wanted.items() if moved)


@dataclass(slots=True, kw_only=True)
class Result:
    """What a transfer did.

    Attributes:
        runs_found: runs that the selection names.
        runs_done: runs that arrived with all their parts.
        runs_live: of those, runs that go on at the source: what there was of them has arrived.
        runs_failed: runs of which at least one part did not arrive.
        runs_skipped: runs that arrived earlier and did not change since; nothing was asked or sent.
        runs_elsewhere: runs that another engine, with which the work is shared, brought as far as it could.
        runs_inherited: of those that were skipped, the ones that only an old ledger proves.
        old_runs_missing: runs that an old ledger proves, but that are not at the destination.
        old_lines_unreadable: lines of an old ledger that say nothing.
        versions: artifact versions that arrived with their collections. Artifacts that come with their runs,
            as those of MLflow, are not among them.
        reports: reports, drafts, saved views and sweeps that were made or changed.
        counters: points, files, bytes and requests.
        failures: each item that did not arrive, with its cause; at most ``MAX_FAILURES`` are kept.
        failure_count: all of them.
        losses: how many values of each kind did not arrive as they were.
        loss_examples: the first of each kind.
        elapsed_s: wall time.
        interrupted: True if it was told to stop before all was done.
        unlisted: True if there may be more runs than were found when it was told so.
        samples: counters and throttles over time, once a second of the last minutes, thinner before that.
    """

    MAX_FAILURES = 1_000

    runs_found: int = 0
    runs_done: int = 0
    runs_live: int = 0
    runs_failed: int = 0
    runs_skipped: int = 0
    runs_elsewhere: int = 0
    runs_inherited: int = 0
    old_runs_missing: int = 0
    old_lines_unreadable: int = 0
    versions: int = 0
    reports: int = 0
    counters: Counters = field(default_factory=Counters)
    failures: list[ItemFailed] = field(default_factory=list)
    failure_count: int = 0
    losses: Counter[str] = field(default_factory=Counter)
    loss_examples: dict[str, list[Loss]] = field(default_factory=dict)
    elapsed_s: float = 0.0
    interrupted: bool = False
    unlisted: bool = False
    samples: Sequence[Progress] = ()

    @property
    def runs_left(self) -> int:
        """Runs that were found and not dealt with; ``unlisted`` tells whether there may be more."""
        dealt_with = self.runs_done + self.runs_failed + self.runs_skipped + self.runs_elsewhere
        return max(0, self.runs_found - dealt_with)

    @property
    def exit_status(self) -> int:
        """0 all arrived, 1 some items failed, 130 interrupted."""
        if self.interrupted:
            return 130
        return 1 if self.failure_count else 0

    def add_failure(self, failure: ItemFailed) -> None:
        self.failure_count += 1
        if len(self.failures) < self.MAX_FAILURES:
            self.failures.append(failure)
