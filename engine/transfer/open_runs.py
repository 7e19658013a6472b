"""A run that is being written, and its parts, which are written independently of each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from engine.errors import EngineError
from engine.protocols import RunWriter
from engine.records import Namespace, Receipt, Run
from engine.transfer.failing import Tell
from engine.transfer.ledger.items import Kind
from engine.transfer.ledger.proofs import Known

PROBLEMS = 20
"""Failures of one run that are told with it; each is also told by itself."""


def subject_of(run: Run) -> str:
    """A run as people are told of it."""
    return f"run {run.id}" if not run.name or run.name == run.id else f"run {run.id} ({run.name})"


@dataclass(slots=True)
class OpenRun:
    """A run being written: how many of its parts are still under way, and what they moved."""

    run: Run
    writer: RunWriter
    destination: Namespace
    known: Known
    pending: int = 1
    failed: bool = False
    problems: list[str] = field(default_factory=list)
    history: Receipt | None = None
    points: int = 0
    files: int = 0
    bytes: int = 0

    def add(self, receipt: Receipt) -> None:
        self.points += receipt.points
        self.files += receipt.files
        self.bytes += receipt.bytes

    def fail(self, error: EngineError) -> None:
        self.failed = True
        if len(self.problems) < PROBLEMS:
            self.problems.append(str(error))


@dataclass(slots=True)
class Part:
    """One independent part of an open run. ``failed`` tells the journal."""

    kind: Kind
    subject: str
    job: OpenRun
    move: Callable[[], Awaitable[Receipt]]
    failed: Tell
