"""What can be known to go wrong, found before anything is written, all of it at once.

Both sides are opened, then looked at: the selection, the places at the destination, names, clocks, room on
the disks, and whether source and destination are one and the same.
"""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from engine.errors import ConfigError, EngineError, PreflightError, Problem, Side
from engine.protocols import Destination, Foretelling, Objecting, Source, Survey
from engine.records import Project, Selection, SystemInfo
from engine.transfer.context import Context, LossLedger
from engine.transfer.planning.meetings import find_meetings

T = TypeVar("T")

MIB = 1024 * 1024

LEAST_ROOM = 16 * MIB
"""With less on a disk nothing can begin."""

LITTLE_ROOM = 1024 * MIB
"""With less, a large transfer may have to wait for room."""


@dataclass(slots=True)
class Findings:
    """Collects what stands in the way, until ``settle``."""

    errors: list[EngineError] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    async def enter(self, stack: AsyncExitStack, manager: AbstractAsyncContextManager[T]) -> T | None:
        """What entering gives; None if it failed, which is noted."""
        try:
            return await stack.enter_async_context(manager)
        except EngineError as error:
            self.errors.append(error)
            return None

    def settle(self) -> None:
        """Go on only if nothing stands in the way.

        Raises:
            EngineError: the one error that was found, as it is.
            PreflightError: there are several.
        """
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise PreflightError(self.errors, self.warnings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Both sides, open and looked at.

    Attributes:
        survey: None if the destination cannot be looked at without writing.
        warnings: what does not stand in the way.
    """

    source: SystemInfo
    destination: SystemInfo
    projects: list[Project]
    survey: Survey | None
    warnings: tuple[Problem, ...]


async def open_sides(
    source: Source,
    destination: Destination,
    selection: Selection,
    context: Context,
    stack: AsyncExitStack,
    findings: Findings,
    *,
    state_dir: Path | None = None,
    artifacts: bool = True,
) -> Sides:
    """Open both sides on ``stack`` and check what can be checked.

    Args:
        findings: of what was done before.
        state_dir: where the ledger is kept, to see whether it has room.
        artifacts: whether they are moved, too.

    Raises:
        EngineError: something stands in the way; see ``Findings.settle``.
    """
    origin = context.source = await findings.enter(stack, source.open(context))
    target = await findings.enter(stack, destination.open(context))
    projects = await _projects(source, selection, findings) if origin is not None else None
    survey = None
    if target is not None and projects is not None and isinstance(destination, Foretelling):
        survey = await _survey(destination, projects, findings)
    if origin is not None and target is not None:
        findings.errors += _same_place(origin, target, survey)
    if projects is not None:
        findings.warnings += _unused(context, projects)
        findings.errors += await _collisions(source, projects, selection, context, survey, artifacts)
    findings.errors += context.clocks.errors()
    findings.warnings += context.clocks.warnings()
    check_room(findings, {"temporary data": context.spool, "the ledger": state_dir})
    findings.settle()
    assert origin is not None
    assert target is not None
    assert projects is not None
    return Sides(
        source=origin,
        destination=target,
        projects=projects,
        survey=survey,
        warnings=tuple(findings.warnings),
    )


async def _projects(source: Source, selection: Selection, findings: Findings) -> list[Project] | None:
    try:
        return [project async for project in source.projects(selection)]
    except EngineError as error:
        findings.errors.append(error)
        return None


async def _survey(destination: Foretelling, projects: list[Project], findings: Findings) -> Survey | None:
    try:
        survey = await destination.survey(projects)
    except EngineError as error:
        findings.errors.append(error)
        return None
    findings.errors += survey.errors
    findings.warnings += survey.warnings
    return survey


async def _collisions(
    source: Source,
    projects: list[Project],
    selection: Selection,
    context: Context,
    survey: Survey | None,
    artifacts: bool,
) -> list[EngineError]:
    """What would become one, by other names or by other places."""
    # What is lost is told when it is moved.
    losses, context.losses = context.losses, LossLedger()
    try:
        errors: list[EngineError] = []
        if isinstance(source, Objecting):
            errors += await source.objections(projects, selection, artifacts=artifacts)
        if survey is not None:
            errors += await find_meetings(
                source, projects, selection, survey, context.remap, artifacts=artifacts
            )
    except EngineError as error:
        return [error]
    finally:
        context.losses = losses
    return errors


def _same_place(origin: SystemInfo, target: SystemInfo, survey: Survey | None) -> Iterator[EngineError]:
    """A project that would be copied onto itself."""
    remedy = "name another destination, or send it elsewhere with --remap"
    if origin.server is None or origin.server != target.server:
        if origin.uri == target.uri:
            yield ConfigError("source and destination are the same", subject=target.uri, remedy=remedy)
        return
    same = [str(place) for place, goal in survey.targets.items() if place == goal] if survey else [target.uri]
    if same:
        yield ConfigError(
            "source and destination are the same project", subject=", ".join(same[:5]), remedy=remedy
        )


def _unused(context: Context, projects: list[Project]) -> Iterator[Problem]:
    """Remappings of what is not there: most likely slips of the pen."""
    known = {name for project in projects for name in (project.namespace.path, project.namespace.project)}
    for name in context.remap.keys() - known:
        near = difflib.get_close_matches(name, known, n=1)
        yield Problem(
            kind="remap_unused",
            message=f"nothing that is selected is called {name!r}, so its remapping does nothing",
            side=Side.SOURCE,
            remedy=f"did you mean {near[0]!r}?" if near else None,
        )


def check_room(findings: Findings, places: dict[str, Path | None]) -> None:
    """See that the disks have some room; what a transfer really needs, only a plan can tell."""
    seen: set[int] = set()
    for what, place in places.items():
        if place is None or (there := existing(place)).stat().st_dev in seen:
            continue
        seen.add(there.stat().st_dev)
        total, _, free = shutil.disk_usage(there)
        if not total:  # no file system that could hold anything; it says so by itself
            continue
        if free < LEAST_ROOM:
            findings.errors.append(
                ConfigError(
                    f"the disk for {what} is full: {free // MIB} MiB are free",
                    subject=str(there),
                    remedy=ROOM_REMEDY,
                )
            )
        elif free < LITTLE_ROOM:
            findings.warnings.append(
                Problem(
                    kind="disk_low",
                    message=f"the disk for {what} has {free // MIB} MiB left",
                    subject=str(there),
                    remedy=f"if it fills up, the transfer waits; {ROOM_REMEDY}",
                )
            )


ROOM_REMEDY = (
    "make room, or choose another disk: TMPDIR for temporary data, --state-dir (of an export --out) for the "
    "ledger"
)


def existing(path: Path) -> Path:
    """The path, or what there is of it."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())
