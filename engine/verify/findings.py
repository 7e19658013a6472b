"""What a verification found."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import ClassVar

from engine.records import Json, Selection, SystemInfo
from engine.transfer.context import LossLedger
from engine.transfer.events import Event


class Level(StrEnum):
    """How closely to look."""

    COUNTS = "counts"
    """What listings tell: runs and all that is said of them; names and sizes of files and artifacts."""
    FULL = "full"
    """Also every point of every history, and every entry of every artifact by the digests that are known."""
    DEEP = "deep"
    """Also the bytes of every file on both sides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not what it should be.

    Attributes:
        kind: ``missing``, ``extra`` or ``changed``.
        part: ``run``, ``config``, ``history``, ``file``, ``artifact``, ``entry``, …
        subject: the object: ``run 4f1c (trial 0)``, ``artifact model of run 4f1c``.
        detail: what was expected and what was found.
        run: id at the source; at the destination for what is only there.
    """

    kind: str
    part: str
    subject: str
    detail: str
    run: str | None = None

    def __str__(self) -> str:
        return f"{self.subject}: {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotVerified:
    """What could not be compared, or was not worth it, and why."""

    subject: str
    reason: str
    run: str | None = None
    expected: bool = False
    """Whether somebody was told of it before, so that it is no error of this verification."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """What was compared; ``lines`` are those of consoles and the rows of system metrics."""

    runs: int = 0
    facts: int = 0
    keys: int = 0
    points: int = 0
    rows: int = 0
    files: int = 0
    artifacts: int = 0
    entries: int = 0
    collections: int = 0
    sweeps: int = 0
    reports: int = 0
    lines: int = 0
    bytes_hashed: int = 0


@dataclass(slots=True, kw_only=True)
class Findings:
    """The result of a verification.

    Attributes:
        parts: which of ``history``, ``files`` and ``artifacts`` are looked at.
        runs_found: runs of the selection that were listed so far.
        differences: the first ``KEPT`` of them.
        declared: what the destination cannot hold as it was, by kind, as far as it concerns these runs.
        told: the same, as the runs at the destination tell it of themselves.
        root: the Merkle root over all runs.
    """

    KEPT: ClassVar[int] = 10_000

    level: Level
    parts: frozenset[str] = frozenset()
    selection: Selection = field(default_factory=Selection)
    runs_found: int = 0
    counts: Counts = field(default_factory=Counts)
    differences: list[Difference] = field(default_factory=list)
    difference_count: int = 0
    not_verified: list[NotVerified] = field(default_factory=list)
    not_verified_count: int = 0
    errors: int = 0
    declared: LossLedger = field(default_factory=LossLedger)
    told: LossLedger = field(default_factory=LossLedger)
    root: str = ""
    source: SystemInfo | None = None
    destination: SystemInfo | None = None
    began_at: float = 0.0
    ended_at: float = 0.0
    requests: int = 0

    def differ(self, difference: Difference) -> None:
        self.difference_count += 1
        if len(self.differences) < self.KEPT:
            self.differences.append(difference)

    def leave_out(self, item: NotVerified) -> None:
        self.not_verified_count += 1
        self.errors += not item.expected
        if len(self.not_verified) < self.KEPT:
            self.not_verified.append(item)

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing at all to compare."""
        counts = self.counts
        seen = self.runs_found or counts.collections or counts.sweeps or counts.reports
        return not seen and not self.difference_count and not self.not_verified_count

    @property
    def exit_status(self) -> int:
        """0 if all that was compared is the same, and all could be compared; else 1."""
        return 1 if self.difference_count or self.errors else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifying(Event):
    """How far a verification is; sent a few times a second."""

    type: ClassVar[str] = "verifying"
    runs_found: int
    runs_done: int
    points: int
    entries: int
    bytes_hashed: int
    differences: int
    elapsed_s: float

    @classmethod
    def of(cls, findings: Findings) -> Verifying:
        counts = findings.counts
        return cls(
            runs_found=findings.runs_found,
            runs_done=counts.runs,
            points=counts.points,
            entries=counts.entries,
            bytes_hashed=counts.bytes_hashed,
            differences=findings.difference_count,
            elapsed_s=time.time() - findings.began_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Differs(Event):
    """One difference."""

    type: ClassVar[str] = "difference"
    kind: str
    part: str
    subject: str
    detail: str
    run: str | None = None

    @classmethod
    def of(cls, difference: Difference) -> Differs:
        return cls(**asdict(difference))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified(Event):
    """The end of a verification. ``exit_status`` is as the command line gives it."""

    type: ClassVar[str] = "verified"
    level: str
    counts: dict[str, int]
    differences: int
    not_verified: int
    declared: dict[str, int]
    root: str
    elapsed_s: float
    exit_status: int
    certificate: str | None = None

    @classmethod
    def of(cls, findings: Findings, certificate: str | None) -> Verified:
        return cls(
            level=findings.level,
            counts=asdict(findings.counts),
            differences=findings.difference_count,
            not_verified=findings.not_verified_count,
            declared=dict(findings.declared.counts),
            root=findings.root,
            elapsed_s=findings.ended_at - findings.began_at,
            exit_status=findings.exit_status,
            certificate=certificate,
        )


def as_json(value: Difference | NotVerified) -> dict[str, Json]:
    return asdict(value)
