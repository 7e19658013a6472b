"""Sweeps before the runs, reports and saved views after all else.

Both sides have to offer them. There are few, so all of them are listed each time; what the ledger proves to
have arrived as it is now is not written again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import anyio

from engine.errors import EngineError
from engine.fingerprints import fingerprint
from engine.protocols import Destination, Reader, Source
from engine.records import Namespace, Project, Run
from engine.reports import ReportDestination, ReportSource, Sweep, View, ViewWriter
from engine.transfer.failing import Failed
from engine.transfer.ledger.journal import Journal
from engine.transfer.ledger.leases import Claim
from engine.transfer.turns import turn

SWEEPS: Final = "sweeps"
VIEWS: Final = "reports"


@dataclass(frozen=True, slots=True)
class Reports:
    """The sweeps and the views of one transfer; ``between`` makes one.

    Attributes:
        failed: records a failure.
        read: reads files of the source.
        drain: when it is set, nothing further is begun.
        written: how many of each kind were made or changed.
    """

    source: ReportSource
    destination: ReportDestination
    journal: Journal
    failed: Failed
    read: Reader
    drain: anyio.Event
    written: Counter[str] = field(default_factory=Counter)
    _missing: dict[tuple[Namespace, str], EngineError] = field(default_factory=dict)

    @classmethod
    def between(
        cls,
        source: Source,
        destination: Destination,
        journal: Journal,
        failed: Failed,
        read: Reader,
        drain: anyio.Event,
    ) -> Reports | None:
        """None if one of the sides has no such thing."""
        if isinstance(source, ReportSource) and isinstance(destination, ReportDestination):
            return cls(source, destination, journal, failed, read, drain)
        return None

    async def move_sweeps(self, projects: Sequence[Project], places: Mapping[Namespace, Namespace]) -> None:
        """Move all sweeps of these projects.

        Raises:
            EngineError: nothing further can succeed.
        """
        for project in projects:
            path = project.namespace.path
            # Of engines that share, one makes them, and the others have to know them before their runs.
            claim = await turn(self.journal, path, SWEEPS, self.drain)
            if claim is None:
                return
            await self._move_sweeps(project, places[project.namespace])
            if claim is Claim.MINE:
                await self._end_turn(path, SWEEPS)

    def missing_for(self, run: Run) -> EngineError | None:
        """Why the sweep of a run did not arrive, so that the run has to be told of it another time."""
        return None if run.sweep is None else self._missing.get((run.namespace, run.sweep))

    async def _move_sweeps(self, project: Project, place: Namespace) -> None:
        try:
            async with aclosing(self.source.sweeps(project)) as sweeps:
                async for sweep in sweeps:
                    if self.drain.is_set():
                        return
                    await self._move_sweep(sweep, place)
        except EngineError as error:
            tell = partial(self.journal.project_listed, project)
            await self.failed("sweep", f"sweeps of {project.namespace}", error, tell)

    async def _move_sweep(self, sweep: Sweep, place: Namespace) -> None:
        known = await self.journal.known_report(sweep, place)
        if known.content == fingerprint(sweep):
            self.destination.adopt_sweep(sweep, known.note)
            return
        try:
            receipt = await self.destination.write_sweep(sweep, place)
        except Exception as error:  # noqa: BLE001 - becomes a failure record
            tell = partial(self.journal.report_failed, sweep, place, known)
            failure = await self.failed("sweep", str(sweep), error, tell)
            self._missing[sweep.namespace, sweep.id] = failure
        else:
            await self.journal.report_done(sweep, place, receipt)
            self.written["sweeps"] += not receipt.skipped

    async def move_views(self, projects: Sequence[Project], places: Mapping[Namespace, Namespace]) -> None:
        """Move all reports and saved views of these projects, or wait until another engine did.

        Raises:
            EngineError: nothing further can succeed.
        """
        if await turn(self.journal, "", VIEWS, self.drain) is Claim.MINE:
            await self._move_views(projects, places)
            await self._end_turn("", VIEWS)

    async def _end_turn(self, project: str, what: str) -> None:
        if self.drain.is_set():
            await self.journal.whole_given_back(project, what)
        else:
            await self.journal.whole_done(project, what)

    async def _move_views(self, projects: Sequence[Project], places: Mapping[Namespace, Namespace]) -> None:
        writer, waiting = self.destination.view_writer(places, self.read), list[View]()
        for project in projects:
            place = places[project.namespace]
            try:
                async with aclosing(self.source.views(project)) as views:
                    async for view in views:
                        if self.drain.is_set():
                            return
                        if not await self._move_view(writer, view, place, last=False):
                            waiting.append(view)
            except EngineError as error:
                tell = partial(self.journal.project_listed, project)
                await self.failed("report", f"reports of {project.namespace}", error, tell)
        for view in waiting:
            await self._move_view(writer, view, places[view.namespace], last=True)

    async def _move_view(self, writer: ViewWriter, view: View, place: Namespace, *, last: bool) -> bool:
        """Move one view; False if it has to wait for others."""
        known = await self.journal.known_report(view, place)
        try:
            receipt = await writer.write(view, known.note, last=last)
        except Exception as error:  # noqa: BLE001 - becomes a failure record
            await self.failed(
                "report", str(view), error, partial(self.journal.report_failed, view, place, known)
            )
            return True
        if receipt is not None:
            await self.journal.report_done(view, place, receipt)
            self.written["views"] += not receipt.skipped
        return receipt is not None
