"""From what was seen of single runs to a plan."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from engine.errors import Problem, Side
from engine.records import Namespace
from engine.transfer.context import Context, LossLedger
from engine.transfer.options import Options
from engine.transfer.planning import durations
from engine.transfer.planning.measuring import (
    DESTINATION,
    DOWNLOADS,
    HISTORY_REQUESTS,
    SERVED_POINTS,
    Failures,
    Measurer,
)
from engine.transfer.planning.plan import Amount, ExpectedLoss, Plan, PlannedProject
from engine.transfer.planning.preflight import MIB, ROOM_REMEDY, Sides, existing
from engine.transfer.planning.wholes import Wholes

LISTING = "source listing"
HISTORIES = "source histories"
CREATION = f"{DESTINATION}new projects"


@dataclass(slots=True)
class ProjectCounts:
    """Runs of one project."""

    found: int = 0
    to_move: int = 0


@dataclass(slots=True)
class Seen:
    """What planning saw.

    Attributes:
        arrived: runs that are left out.
        live: runs to move that go on at the source.
        requests: to the destination, for what is listed of runs.
        wholes: what belongs to no single run.
        losses: of what is listed; those of the parts too, unless only a sample of them was looked at.
    """

    sides: Sides
    context: Context
    failures: Failures
    measurer: Measurer
    counts: dict[Namespace, ProjectCounts] = field(default_factory=lambda: defaultdict(ProjectCounts))
    arrived: int = 0
    live: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    wholes: Wholes = field(default_factory=Wholes)
    losses: LossLedger = field(init=False)
    losses_by_measuring: LossLedger = field(default_factory=LossLedger)
    asked_by_listing: int = 0
    _asked_before: int = field(init=False)

    def __post_init__(self) -> None:
        self.losses = self.context.losses
        self._asked_before = self.context.counters.requests

    @property
    def to_move(self) -> int:
        return sum(counts.to_move for counts in self.counts.values())

    def asked(self) -> int:
        """Requests since both sides were looked at; a transfer sends the same before it moves anything."""
        return self.context.counters.requests - self._asked_before

    def amount(self, name: str, *, exact: bool = True) -> Amount:
        """How much there is in all runs that are to be moved."""
        return self.measurer.tallies.amount(name, self.to_move, exact=exact)

    @property
    def is_sampled(self) -> bool:
        return self.measurer.tallies.runs < self.to_move


def plan_of(seen: Seen, options: Options, planning_s: float) -> Plan:
    """The plan for what was seen."""
    measurer = seen.measurer
    points, size = seen.amount("points", exact=measurer.exact), seen.amount("bytes")
    requests = _requests(seen)
    largest, name = measurer.largest or (0, None)
    return Plan(
        source=seen.sides.source,
        destination=seen.sides.destination,
        warnings=(*seen.sides.warnings, *seen.wholes.obstacles, *_room(seen)),
        projects=tuple(_projects(seen)),
        runs_found=sum(counts.found for counts in seen.counts.values()),
        runs_to_move=seen.to_move,
        runs_arrived=seen.arrived,
        runs_live=seen.live,
        points=points,
        rows=seen.amount("rows", exact=False),
        files=seen.amount("files"),
        artifacts=seen.amount("artifacts"),
        artifact_files=seen.amount("artifact_files"),
        references=seen.amount("references"),
        collections=Amount(seen.wholes.collections),
        versions=Amount(seen.wholes.versions),
        portfolios=Amount(seen.wholes.portfolios),
        sweeps=Amount(seen.wholes.sweeps),
        reports=Amount(seen.wholes.reports),
        bytes=size,
        largest_bytes=largest,
        largest_file=name,
        spool_bytes=measurer.spool_bytes,
        requests=requests,
        losses=tuple(_losses(seen)),
        failures=seen.failures.told(),
        duration=durations.estimate(
            points=points.about,
            served_points=seen.amount(SERVED_POINTS).about,
            size=size.about,
            requests={name: amount.about for name, amount in requests.items()},
            round_trips=_round_trips(seen.context),
            options=options,
        ),
        sampled=measurer.tallies.runs if seen.is_sampled else None,
        basis=tuple(_basis(seen, options)),
        planning_s=planning_s,
    )


def _projects(seen: Seen) -> Iterator[PlannedProject]:
    survey = seen.sides.survey
    for project in seen.sides.projects:
        counts = seen.counts[project.namespace]
        target = survey.targets[project.namespace] if survey is not None else None
        yield PlannedProject(
            source=project.namespace.path,
            destination=None if target is None else target.path,
            exists=None if survey is None or target is None else target not in survey.missing,
            runs=counts.found,
            to_move=counts.to_move,
        )


def _requests(seen: Seen) -> dict[str, Amount]:
    amounts: dict[str, Amount] = {}
    for name in sorted({*seen.requests, *filter(_is_to_destination, seen.measurer.tallies.names())}):
        parts = seen.amount(name, exact=False)
        amounts[name] = Amount(seen.requests[name] + parts.about, exact=False, margin=parts.margin)
    survey = seen.sides.survey
    if survey is not None and survey.missing:
        amounts[CREATION] = Amount(len(survey.missing))
    histories = seen.amount(HISTORY_REQUESTS, exact=False)
    amounts[HISTORIES] = Amount(-(-histories.about // 1000), exact=False, margin=-(-histories.margin // 1000))
    measured = seen.measurer.tallies.runs
    by_measuring = seen.asked() - seen.asked_by_listing
    amounts[LISTING] = Amount(
        seen.asked_by_listing + round(by_measuring * seen.to_move / max(1, measured)),
        exact=not seen.is_sampled,
    )
    amounts[DOWNLOADS] = seen.amount(DOWNLOADS)
    return {name: amount for name, amount in amounts.items() if amount.about}


def _is_to_destination(name: str) -> bool:
    return name.startswith(DESTINATION)


def _losses(seen: Seen) -> Iterator[ExpectedLoss]:
    scale = seen.to_move / max(1, seen.measurer.tallies.runs)
    for kind in sorted({*seen.losses.counts, *seen.losses_by_measuring.counts}):
        sampled = seen.losses_by_measuring.counts[kind]
        examples = seen.losses.examples.get(kind) or seen.losses_by_measuring.examples[kind]
        yield ExpectedLoss(
            kind=kind,
            count=Amount(
                seen.losses.counts[kind] + round(sampled * scale), exact=not (sampled and seen.is_sampled)
            ),
            example=examples[0],
        )


def _round_trips(context: Context) -> dict[str, float]:
    """The quickest class of endpoint of each side."""
    hosts = {(side, host) for side, host in context.clocks.ahead_s}
    found: dict[str, float] = {}
    for state in context.throttles.states():
        for side in Side:
            if (side, state.host) in hosts and state.round_trip_s is not None:
                found[side] = min(found.get(side, state.round_trip_s), state.round_trip_s)
    return found


def _room(seen: Seen) -> Iterator[Problem]:
    """Whether temporary data fits; if not, a transfer waits for room, and may wait in vain."""
    spool = existing(seen.context.spool)
    free, need = shutil.disk_usage(spool).free, seen.measurer.spool_bytes
    if need > free:
        yield Problem(
            kind="disk_low",
            message=f"temporary data may need {need // MIB:,} MiB, and {free // MIB:,} MiB are free",
            subject=str(spool),
            remedy=ROOM_REMEDY,
        )


def _basis(seen: Seen, options: Options) -> Iterator[str]:
    if not seen.measurer.exact:
        yield "points are estimated from the lists of runs (last steps, rows), as this source has no count"
    yield "rows are the most steps of any one metric of a run; requests are what these amounts take"
    if seen.is_sampled:
        yield (
            f"histories, files and artifacts of {seen.measurer.tallies.runs:,} runs were looked at, chosen "
            f"by chance, and stand for all {seen.to_move:,}; ± is two standard errors"
        )
    if seen.wholes.collections:
        yield "of versions in collections, files and bytes are counted where runs to move made them"
    if seen.wholes.sweeps or seen.wholes.reports:
        yield "requests are without those of sweeps and reports: one for each, and for each file in them"
    left_out = [part for part in ("history", "files", "artifacts") if part not in options.parts]
    if left_out:
        yield f"left out as asked: {', '.join(left_out)}"
    yield (
        "not foreseen: points whose times are merged, rows and summaries that are too long, "
        "files that change or cannot be read"
    )
