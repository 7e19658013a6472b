"""What the kernel lends to both sides while a transfer runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from engine.records import Loss, SystemInfo
from engine.transfer.ledger.identity import IdMap
from engine.transfer.ledger.memos import Memos
from engine.transfer.throttling.bandwidth import Bandwidth
from engine.transfer.throttling.breaker import PATIENCE_S
from engine.transfer.throttling.budget import ByteBudget
from engine.transfer.throttling.clocks import Clocks
from engine.transfer.throttling.throttle import Throttles

READ_AHEAD = 64 * 1024 * 1024
"""Bytes that downloads fetch before their turn at most; no more than a quarter of the budget."""


@dataclass(slots=True)
class Counters:
    """What was moved so far; sides add to it as things are acknowledged.

    ``rows_again`` are those among ``rows`` that the destination had, as they were or otherwise. ``changes``
    are requests that were answered and that change something there, where a request tells that.
    """

    points: int = 0
    rows: int = 0
    rows_again: int = 0
    files: int = 0
    bytes: int = 0
    requests: int = 0
    changes: int = 0


@dataclass(slots=True)
class LossLedger:
    """Counts losses by kind and keeps the first examples of each.

    What concerns a run that is under way (its subject is ``run ID``) is kept until ``forget_run``, so that a
    destination can write it down with the run.
    """

    EXAMPLES = 20
    RUNS = 10_000
    """Runs whose losses are kept at most; a destination that never asks must not fill the memory."""

    on_first: Callable[[Loss], None] = lambda _: None
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Loss]] = field(default_factory=dict)
    _by_run: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def record(self, loss: Loss) -> None:
        """Count a loss; may be called in any thread."""
        with self._lock:
            kept = self.examples.setdefault(loss.kind, [])
            if not kept:
                self.on_first(loss)
            if len(kept) < self.EXAMPLES:
                kept.append(loss)
            self.counts[loss.kind] += loss.count
            if loss.subject.startswith("run "):
                self._record_for_run(loss)

    def _record_for_run(self, loss: Loss) -> None:
        told = self._by_run.setdefault(loss.subject, Counter())
        detail = loss.detail
        if (loss.kind, detail) not in told and sum(kind == loss.kind for kind, _ in told) >= self.EXAMPLES:
            detail = "and others"
        told[loss.kind, detail] += loss.count
        if len(self._by_run) > self.RUNS:
            del self._by_run[next(iter(self._by_run))]

    def of_run(self, subject: str) -> list[Loss]:
        """All losses of a run that is under way, whichever side recorded them, by kind and detail."""
        with self._lock:
            told = Counter(self._by_run.get(subject))
        return [
            Loss(kind=kind, subject=subject, detail=detail, count=count)
            for (kind, detail), count in sorted(told.items())
        ]

    def forget_run(self, subject: str) -> None:
        with self._lock:
            self._by_run.pop(subject, None)


@dataclass(slots=True, kw_only=True)
class Context:
    """Shared by source and destination of one transfer.

    Attributes:
        spool: an empty directory for temporary data; the kernel removes it at the end.
        remap: where the user wants source namespaces (or bare project names) to go; values are
            ``entity/project`` or ``project``.
        budget: payload bytes that may be in memory.
        read_ahead: those of large downloads that come before their turn. Apart from ``budget``: who holds
            them may be waiting for some of that.
        throttles: one limiter per host and class of endpoint.
        counters: progress.
        losses: what could not be carried as it was.
        concurrency: how many requests each side may have in flight at most.
        source: what the source said of itself; known before the destination is opened.
        downloads: how fast bytes of objects may come from the source.
        uploads: how fast bytes of objects may go to the destination.
        patience_s: how long something that is in the way (a full disk) is waited out.
        notices: what is being waited for on this machine, one sentence each, for people to see.
        ids: the ids of runs that could not keep their own.
        memos: what is remembered of runs that are half done.
        clocks: how far those of the servers are from ours.
        accepted: kinds of loss that the user takes where there is a choice between that and an error.
    """

    spool: Path
    remap: Mapping[str, str] = field(default_factory=dict)
    budget: ByteBudget = field(default_factory=ByteBudget)
    throttles: Throttles = field(default_factory=Throttles)
    counters: Counters = field(default_factory=Counters)
    losses: LossLedger = field(default_factory=LossLedger)
    concurrency: int = 32
    source: SystemInfo | None = None
    downloads: Bandwidth = field(default_factory=Bandwidth)
    uploads: Bandwidth = field(default_factory=Bandwidth)
    patience_s: float = PATIENCE_S
    notices: set[str] = field(default_factory=set)
    ids: IdMap = field(default_factory=IdMap)
    memos: Memos = field(default_factory=Memos)
    clocks: Clocks = field(default_factory=Clocks)
    accepted: AbstractSet[str] = frozenset()
    read_ahead: ByteBudget = field(init=False)

    def __post_init__(self) -> None:
        self.read_ahead = ByteBudget(max(1, min(READ_AHEAD, self.budget.total // 4)))

    def lose(self, kind: str, subject: str, detail: str, count: int = 1) -> None:
        """Record that something did not arrive exactly as it was."""
        self.losses.record(Loss(kind=kind, subject=subject, detail=detail, count=count))
