"""What a plan tells: plain values, ready for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from engine.errors import Problem
from engine.records import Json, Loss, SystemInfo


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of something there is.

    Attributes:
        exact: False if it was estimated or extrapolated.
        margin: of an extrapolation, two standard errors: the truth is within it 19 times out of 20.
    """

    about: int = 0
    exact: bool = True
    margin: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedProject:
    """One project of the source.

    Attributes:
        destination: where it goes; None if the destination cannot tell without writing.
        exists: whether that is there already.
        runs: those that the selection names.
        to_move: those of them that did not arrive earlier.
    """

    source: str
    destination: str | None
    exists: bool | None
    runs: int
    to_move: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedLoss:
    """Values that will not arrive exactly as they are."""

    kind: str
    count: Amount
    example: Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedFailure:
    """Items that could not even be looked at, and so will not arrive, for one reason."""

    problem: Problem
    count: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """How long it may take, in seconds, and what that rests on."""

    low_s: float
    high_s: float
    assumptions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a transfer would find and do. Amounts are of what is to be moved, not of what arrived earlier.

    Attributes:
        warnings: what does not stand in the way, but may not be meant.
        runs_found: those that the selection names.
        runs_to_move: those that did not arrive earlier, or changed since.
        runs_arrived: those that the ledger proves to have arrived as they are; nothing is done with them.
        runs_live: of those to move, the ones that go on at the source, and so are applied again each time.
        points, rows: of histories; rows are what the destination will make of the points.
        files: of runs, outside of artifacts.
        artifacts: versions; ``artifact_files`` are their files, ``references`` their entries without bytes.
        collections: of artifact versions, where they go by these, that have something new.
        versions: new ones in them, also of runs that are gone or arrived before.
        portfolios: collections of links that are new or changed.
        sweeps, reports: that are new or changed; drafts and saved views are reports.
        bytes: of files and artifacts.
        largest_bytes: the largest single file, and ``largest_file`` its name.
        spool_bytes: temporary data on this machine at most, at any time.
        requests: by side and class of endpoint, both of looking and of moving.
        losses: what the destination cannot hold as it is.
        failures: what cannot be read even now.
        sampled: histories and files of so many of the runs to move were looked at, and the amounts that
            depend on them extrapolated; None if all were looked at.
        basis: how the amounts were found, one sentence each.
        planning_s: how long it took to find this out.
    """

    source: SystemInfo
    destination: SystemInfo
    warnings: tuple[Problem, ...]
    projects: tuple[PlannedProject, ...]
    runs_found: int
    runs_to_move: int
    runs_arrived: int
    runs_live: int
    points: Amount
    rows: Amount
    files: Amount
    artifacts: Amount
    artifact_files: Amount
    references: Amount
    collections: Amount
    versions: Amount
    portfolios: Amount
    sweeps: Amount
    reports: Amount
    bytes: Amount
    largest_bytes: int
    largest_file: str | None
    spool_bytes: int
    requests: dict[str, Amount]
    losses: tuple[ExpectedLoss, ...]
    failures: tuple[ExpectedFailure, ...]
    duration: Duration
    sampled: int | None
    basis: tuple[str, ...]
    planning_s: float

    @property
    def is_nothing(self) -> bool:
        """Whether all that is there arrived earlier."""
        others = (self.collections, self.portfolios, self.sweeps, self.reports)
        return not self.runs_to_move and not any(amount.about for amount in others)

    def as_json(self) -> dict[str, Json]:
        return {"type": "plan", **asdict(self)}
