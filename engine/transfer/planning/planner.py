"""Looks at everything that a transfer would move, and moves nothing.

    list ─▶ leave out what the ledger proves ─▶ rehearse the run ─▶ measure its history, files and artifacts

Runs are listed one by one and measured a few at a time, so that memory does not grow with their number. With
a sample, only so many are measured, chosen by chance from all; listing, and what follows from it, is whole.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from engine.errors import ConfigError, EngineError
from engine.fingerprints import ContentFingerprint
from engine.protocols import Destination, Foretelling, Source, Unreadable
from engine.records import Namespace, Project, Run
from engine.selection import absent
from engine.transfer.checks import Checks
from engine.transfer.context import Context, Counters, LossLedger
from engine.transfer.ledger.journal import artifact_key
from engine.transfer.ledger.old_ledgers import inherited
from engine.transfer.ledger.proofs import Known, Proofs
from engine.transfer.ledger.reading import LedgerReader, read_ledger
from engine.transfer.options import Options, Result
from engine.transfer.planning.measuring import DESTINATION, Failures, Measurer, PlannedRun
from engine.transfer.planning.plan import Plan
from engine.transfer.planning.preflight import Findings, Sides, existing, open_sides
from engine.transfer.planning.sampling import Reservoir
from engine.transfer.planning.summing import Seen, plan_of
from engine.transfer.planning.wholes import WholesLook

Progress: TypeAlias = Callable[[int], object]

BATCH = 16
"""Runs that are measured together."""

WORKERS = 8

PATIENCE_S = 60.0
"""So long at most a side may be gone: somebody is waiting in front of the screen."""


async def make_plan(
    source: Source,
    destination: Destination,
    options: Options,
    *,
    sample: int | None = None,
    progress: Progress = lambda _: None,
) -> Plan:
    """Plan a transfer. Nothing is written anywhere, and the ledger is not held: one may be under way.

    Args:
        sample: measure only so many runs, and extrapolate.
        progress: is called with the number of runs that were listed so far.

    Raises:
        EngineError: the transfer could not even begin; a ``PreflightError`` if there are several reasons.
    """
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        spool = options.spool or Path(tempfile.gettempdir())
        options = replace(options, patience_s=min(options.patience_s, PATIENCE_S))
        context = options.context(spool, Counters(), LossLedger())
        inheritance = await inherited(options.old_ledger, source, destination, Result(), options.artifacts)
        findings = Findings()
        findings.errors += _unwritable(options.state_dir)
        reading = read_ledger(source.uri, destination.uri, state_dir=options.state_dir, url=options.ledger)
        records = await findings.enter(stack, reading)
        sides = await open_sides(
            source,
            destination,
            options.selection,
            context,
            stack,
            findings,
            state_dir=options.state_dir,
            artifacts=options.artifacts,
        )
        proofs = _proofs(records, options)
        checks = Checks(source, inheritance=inheritance)
        planner = Planner(source, destination, options, context, sides, proofs, checks, progress)
        # What is asked for this is asked by a transfer, too.
        wholes = WholesLook(source, destination, options, sides, proofs, planner.seen.failures)
        planner.seen.wholes = await wholes.look()
        await (planner.look_at_all() if sample is None else planner.look_at_some(sample))
        return plan_of(planner.seen, options, time.monotonic() - began)


def _proofs(records: LedgerReader | None, options: Options) -> Proofs | None:
    if records is None:
        return None
    return Proofs(
        records,
        options.parts,
        incremental=options.incremental,
        recheck=options.recheck_artifacts,
    )


def _unwritable(state_dir: Path | None) -> list[EngineError]:
    if state_dir is None or os.access(existing(state_dir), os.W_OK):
        return []
    return [
        ConfigError(
            f"the state directory {state_dir} cannot be written",
            remedy="choose another one with --state-dir",
        )
    ]


class Planner:
    """One look at both sides of a transfer, which are open."""

    def __init__(
        self,
        source: Source,
        destination: Destination,
        options: Options,
        context: Context,
        sides: Sides,
        proofs: Proofs | None,
        checks: Checks,
        progress: Progress,
    ) -> None:
        self._source = source
        self._foretelling = destination if isinstance(destination, Foretelling) else None
        self._options = options
        self._context = context
        self._proofs = proofs
        self._checks = checks
        self._progress = progress
        self._listed = 0
        failures = Failures()
        self._measurer = Measurer(source, options, failures)
        self.seen = Seen(sides, context, failures, self._measurer)

    async def look_at_all(self) -> None:
        """List all runs, and measure each."""
        async with aclosing(self._to_move()) as runs:
            await self._measure(runs)
        self.seen.asked_by_listing = self.seen.asked()

    async def look_at_some(self, sample: int) -> None:
        """List all runs, and measure so many of them."""
        reservoir = Reservoir[PlannedRun](sample)
        async with aclosing(self._to_move()) as runs:
            async for planned in runs:
                reservoir.add(planned)
        self.seen.asked_by_listing = self.seen.asked()
        # What the sample loses stands for more than itself.
        self._context.losses = self.seen.losses_by_measuring
        async with aclosing(_each(reservoir.kept)) as kept:
            await self._measure(kept)

    # -- listing -----------------------------------------------------------------------------------

    async def _to_move(self) -> AsyncGenerator[PlannedRun]:
        limit = self._options.selection.limit
        left = float("inf") if limit is None else limit
        selection = replace(self._options.selection, limit=None)
        named = set(selection.ids)
        for project in self.seen.sides.projects:
            counts = self.seen.counts[project.namespace]
            try:
                async with aclosing(self._source.runs(project, selection)) as runs:
                    async for run in runs:
                        if left <= 0:
                            return
                        counts.found += 1
                        named.discard(run.id)
                        self._listed += 1
                        self._progress(self._listed)
                        arrived = self.seen.arrived
                        planned = await self._planned(run, project)
                        # What is there already leaves room for another one, as when it is moved.
                        left -= self.seen.arrived == arrived
                        if planned is not None:
                            counts.to_move += 1
                            yield planned
            except EngineError as error:
                named.clear()  # they may be in there
                self.seen.failures.add(error, f"project {project.namespace}")
        for run_id in sorted(named) if limit is None else ():
            self.seen.failures.add(absent(run_id), f"run {run_id}")

    async def _planned(self, run: Run | Unreadable, project: Project) -> PlannedRun | None:
        """The run if there is something to do with it."""
        if isinstance(run, Unreadable):
            self.seen.failures.add(run.error, f"run {run.id}")
            return None
        namespace = self._target(project)
        known = await self._proofs.known(run, namespace) if self._proofs is not None else Known()
        if namespace is not None:
            known = await self._checks.of(run, namespace, known)
        if known.complete and not (self._options.recheck_artifacts and await self._changed(run, known)):
            self.seen.arrived += 1
            return None
        self.seen.live += run.state.is_live
        rehearsal = None
        if self._foretelling is not None and namespace is not None:
            rehearsal = self._foretelling.rehearse(run, namespace)
        self._context.losses.forget_run(f"run {run.id}")
        listed = Counter(rehearsal.requests if rehearsal is not None else ())
        self.seen.requests.update({DESTINATION + endpoint: count for endpoint, count in listed.items()})
        return PlannedRun(run, known, rehearsal, listed)

    def _target(self, project: Project) -> Namespace | None:
        survey = self.seen.sides.survey
        return survey.targets[project.namespace] if survey is not None else None

    async def _changed(self, run: Run, known: Known) -> bool:
        """Whether artifacts of a run that arrived are no longer those that did."""
        try:
            async with aclosing(self._source.artifacts(run)) as artifacts:
                async for artifact in artifacts:
                    content = ContentFingerprint(artifact)
                    async with aclosing(self._source.entries(artifact)) as entries:
                        async for _ in content.watch(entries):
                            continue
                    if known.artifacts.get(artifact_key(artifact)) != content.value():
                        return True
        except EngineError as error:
            self.seen.failures.add(error, f"artifacts of run {run.id}")
        return False

    # -- measuring ---------------------------------------------------------------------------------

    async def _measure(self, runs: AsyncIterator[PlannedRun]) -> None:
        send, receive = anyio.create_memory_object_stream[list[PlannedRun]]()
        try:
            with send, receive:
                async with anyio.create_task_group() as workers:
                    for _ in range(WORKERS):
                        workers.start_soon(self._measure_each, receive)
                    async for batch in _batches(runs):
                        await send.send(batch)
                    send.close()
        except BaseExceptionGroup as group:
            raise _first(group) from None

    async def _measure_each(self, batches: MemoryObjectReceiveStream[list[PlannedRun]]) -> None:
        async for batch in batches:
            await self._measurer.measure(batch)
            for planned in batch:
                self._context.losses.forget_run(f"run {planned.run.id}")


async def _batches(runs: AsyncIterator[PlannedRun]) -> AsyncGenerator[list[PlannedRun]]:
    batch: list[PlannedRun] = []
    async for planned in runs:
        batch.append(planned)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _first(error: BaseException) -> BaseException:
    """Callers catch errors by their class, not in groups."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


async def _each(runs: Sequence[PlannedRun]) -> AsyncGenerator[PlannedRun]:
    for run in runs:
        yield run
