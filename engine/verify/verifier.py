"""Compares a source with a destination, run by run, in bounded memory."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from engine.errors import EngineError
from engine.fanout import for_each
from engine.protocols import CollectionSource, Destination, LinkSource, Source, Unreadable, Verifiable
from engine.records import Namespace, Project, Run, RunRef, Selection
from engine.reports import ReportSource
from engine.transfer.background import Background
from engine.transfer.collections import artifacts_with_runs, by_collection
from engine.transfer.context import Context
from engine.transfer.events import Event
from engine.transfer.ledger.identity import IdMap
from engine.transfer.open_runs import subject_of
from engine.transfer.throttling.breaker import PATIENCE_S
from engine.transfer.throttling.throttle import DEFAULT_CONCURRENCY, Endpoint, Throttles
from engine.verify.audit import CollectionAudit, ReportAudit, audit_of
from engine.verify.certificate import CertificateWriter, CertifiedObject, CertifiedRun
from engine.verify.collections import CollectionsCheck
from engine.verify.findings import Difference, Differs, Findings, Level, NotVerified, Verifying
from engine.verify.links import LinksCheck
from engine.verify.merkle import Tree
from engine.verify.reports import ReportsCheck
from engine.verify.runs import RunCheck
from engine.verify.scope import Scope, is_fatal

LOOKED_UP = 100
"""Runs that are asked of the destination in one question."""

AHEAD = 2 * LOOKED_UP
"""Runs that are known before a worker has time for them."""

PROGRESS_EVERY_S = 0.5

Emit: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """How to verify.

    Attributes:
        level: how closely to look.
        selection: which runs of the source.
        parts: which of ``history``, ``files`` and ``artifacts`` to look at.
        reports: whether to look at reports and saved views.
        remap: where projects were sent by the user.
        failed: what is known not to have arrived, and why: runs by id, which are not looked at, and
            projects that could not be listed as ``project NAME``.
        complete: whether runs at the destination that the source does not have count as differences.
        workers: runs that are compared at the same time.
        concurrency, max_rps, patience_s: as in ``engine.transfer.options.Options``.
        spool: directory for temporary data; None means the system's.
        ids: of runs that could not keep their own.
        accepted: as ``engine.transfer.context.Context.accepted``.
    """

    level: Level = Level.FULL
    selection: Selection = field(default_factory=Selection)
    parts: frozenset[str] = frozenset({"history", "files", "artifacts"})
    reports: bool = True
    remap: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True
    workers: int = 8
    concurrency: int | None = None
    max_rps: float | None = None
    patience_s: float = PATIENCE_S
    spool: Path | None = None
    ids: IdMap = field(default_factory=IdMap)
    accepted: AbstractSet[str] = frozenset()

    @property
    def sees_all(self) -> bool:
        """Whether a run that the selection does not name must not be at the destination either."""
        return self.complete and not self.selection.is_partial


@dataclass(slots=True)
class _Job:
    run: Run
    found: Run | Unreadable | None
    namespace: Namespace
    roots: dict[str, str] = field(default_factory=dict)
    done: anyio.Event = field(default_factory=anyio.Event)


@asynccontextmanager
async def opened_context(options: VerifyOptions) -> AsyncGenerator[Context]:
    """What both sides of a verification share."""
    spool = Path(tempfile.mkdtemp(prefix="transfer-engine-", dir=options.spool))
    try:
        yield Context(
            spool=spool,
            remap=options.remap,
            throttles=Throttles(options.concurrency, options.max_rps, options.patience_s),
            concurrency=options.concurrency or DEFAULT_CONCURRENCY[Endpoint.OBJECTS],
            patience_s=options.patience_s,
            ids=options.ids,
            accepted=options.accepted,
        )
    finally:
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(spool, ignore_errors=True))


class Verifier:
    """Compares everything that a selection names; neither side is written to.

    findings = await Verifier(open_source("mlflow:…"), open_destination("wandb:…")).run()

    Args:
        emit: told of progress, and of each difference as it is found.
        record: takes the hashes of what the destination holds.
    """

    def __init__(
        self,
        source: Source,
        destination: Destination | Verifiable,
        options: VerifyOptions | None = None,
        *,
        emit: Emit = lambda _: None,
        record: CertificateWriter | None = None,
    ) -> None:
        self._source = source
        self._audit = audit_of(destination)
        self._by_collection = by_collection(source, destination)
        self._artifacts_of = artifacts_with_runs(source, destination)
        self._options = options or VerifyOptions()
        self._emit = emit
        self._record = record
        self.findings = Findings(
            level=self._options.level,
            parts=self._options.parts,
            selection=self._options.selection,
            began_at=time.time(),
        )
        self._told = 0
        self._collected = anyio.Event()
        self._targets: Mapping[Namespace, Namespace] = {}
        self._chosen: set[RunRef] = set()
        self._tree = Tree()
        self._seen: dict[Namespace, set[str]] = {}

    async def run(self) -> Findings:
        """Look at everything.

        Raises:
            EngineError: a side cannot be used, or is gone.
        """
        findings = self.findings
        async with opened_context(self._options) as context:
            findings.declared = context.losses
            async with self._source.open(context) as findings.source:
                context.source = findings.source
                async with self._audit.open(context) as findings.destination:
                    scope = Scope(
                        source=self._source,
                        audit=self._audit,
                        context=context,
                        level=self._options.level,
                        parts=self._options.parts,
                        findings=findings,
                        artifacts_of=self._artifacts_of,
                        by_collection=self._by_collection,
                    )
                    await self._compare_all(scope)
            findings.requests = context.counters.requests
        findings.ended_at = time.time()
        return findings

    async def _compare_all(self, scope: Scope) -> None:
        projects = [project async for project in self._source.projects(self._options.selection)]
        self._targets = await self._audit.places(projects)
        order_in, order_out = anyio.create_memory_object_stream[_Job](AHEAD)
        async with Background() as background:
            background.start_soon(self._tell_progress)
            background.start_soon(self._collect, order_out)
            async with order_in, aclosing(self._jobs(projects, order_in)) as jobs:
                await for_each(jobs, partial(self._compare, scope), limit=self._options.workers)
            await self._collected.wait()
        await self._look_for_others()
        for subject, detail in scope.order.disordered():
            self.findings.differ(Difference(kind="changed", part="artifact", subject=subject, detail=detail))
        if "artifacts" in self._options.parts:
            await self._compare_collections(scope, projects)
        await self._compare_reports(scope, projects)
        self.findings.root = self._tree.root()
        self._tell()

    async def _compare_collections(self, scope: Scope, projects: Sequence[Project]) -> None:
        source, audit = self._source, self._audit
        if not (isinstance(source, CollectionSource) and self._by_collection):
            return
        assert isinstance(audit, CollectionAudit)
        assert isinstance(audit.source, CollectionSource)
        check = CollectionsCheck(
            scope=scope,
            source=source,
            there=audit.source,
            audit=audit,
            targets=self._targets,
            failed=self._options.failed,
            complete=self._options.sees_all,
            chosen=self._chosen if self._options.selection.is_partial else None,
            workers=self._options.workers,
        )
        await check.compare(projects)
        if self._options.sees_all:
            await check.look_for_others(sorted({*self._targets.values()}))
        self._certify(check.roots)
        if isinstance(source, LinkSource) and isinstance(audit.source, LinkSource):
            links = LinksCheck(
                scope=scope,
                source=source,
                there=audit.source,
                audit=audit,
                targets=self._targets,
                failed=self._options.failed,
                chosen=check.chosen,
            )
            await links.compare(projects, check.linked)

    async def _compare_reports(self, scope: Scope, projects: Sequence[Project]) -> None:
        if not (isinstance(self._source, ReportSource) and isinstance(self._audit, ReportAudit)):
            return
        check = ReportsCheck(
            scope=scope,
            source=self._source,
            audit=self._audit,
            targets=self._targets,
            failed=self._options.failed,
        )
        await check.compare_sweeps(projects)
        if self._options.reports:
            await check.compare_views(projects)
        self._certify(check.roots)

    def _certify(self, found: Sequence[CertifiedObject]) -> None:
        for one in sorted(found, key=lambda one: (one.project, one.kind, one.name)):
            self._tree.add(one.leaf)
            if self._record is not None:
                self._record.add_object(one)

    # -- enumerate -------------------------------------------------------------------------------

    async def _jobs(
        self, projects: Sequence[Project], order: MemoryObjectSendStream[_Job]
    ) -> AsyncGenerator[_Job]:
        left = self._options.selection.limit
        for project in projects:
            namespace = self._targets[project.namespace]
            self._seen.setdefault(namespace, set())
            async with aclosing(self._batches(project, left)) as batches:
                async for batch in batches:
                    left = None if left is None else left - len(batch)
                    for job in await self._looked_up(batch, namespace):
                        await order.send(job)
                        yield job

    async def _batches(self, project: Project, left: int | None) -> AsyncGenerator[list[Run | Unreadable]]:
        batch: list[Run | Unreadable] = []
        try:
            async with aclosing(self._source.runs(project, self._options.selection)) as runs:
                async for run in runs:
                    if left is not None and left <= 0:
                        break
                    left = None if left is None else left - 1
                    batch.append(run)
                    if len(batch) == LOOKED_UP:
                        yield batch
                        batch = []
        except EngineError as error:
            if is_fatal(error):
                raise
            subject = f"project {project.namespace}"
            self._leave_out(subject, str(error), expected=subject in self._options.failed)
        if batch:
            yield batch

    async def _looked_up(self, batch: Sequence[Run | Unreadable], namespace: Namespace) -> list[_Job]:
        """What the destination has of some runs, in one question."""
        self.findings.runs_found += len(batch)
        ids = [one.id if isinstance(one, Unreadable) else self._audit.run_id(one) for one in batch]
        self._seen[namespace].update(ids)
        wanted: dict[str, Run] = {}
        if self._options.selection.is_partial:
            self._chosen.update(RunRef(one.namespace, one.id) for one in batch if isinstance(one, Run))
        for run_id, run in zip(ids, batch, strict=True):
            if (reason := self._options.failed.get(run.id)) is not None:
                self._leave_out(f"run {run.id}", reason, run.id, expected=True)
            elif isinstance(run, Unreadable):
                self._leave_out(f"run {run.id}", str(run.error), run.id)
            else:
                wanted[run_id] = run
        found = {run.id: run async for run in self._audit.runs(namespace, list(wanted))} if wanted else {}
        return [_Job(run, found.get(run_id), namespace) for run_id, run in wanted.items()]

    # -- compare ---------------------------------------------------------------------------------

    async def _compare(self, scope: Scope, job: _Job) -> None:
        run, found = job.run, job.found
        if found is None:
            detail = f"is missing in {job.namespace}"
            self.findings.differ(
                Difference(kind="missing", part="run", subject=subject_of(run), detail=detail, run=run.id)
            )
        elif isinstance(found, Unreadable):
            self._leave_out(subject_of(run), str(found.error), run.id)
        elif run.state.is_live:
            await self._look_at_live(scope, job, found)
        else:
            check = RunCheck(scope, run, found, job.namespace)
            await check.compare()
            job.roots = check.roots
        scope.context.losses.forget_run(f"run {run.id}")
        job.done.set()

    async def _look_at_live(self, scope: Scope, job: _Job, found: Run) -> None:
        """A run that goes on has more at each moment: it may differ, and nothing certifies it."""
        seen = Findings(level=scope.level, parts=scope.parts, told=scope.findings.told)
        await RunCheck(replace(scope, findings=seen), job.run, found, job.namespace).compare()
        now = "has what there is now"
        if seen.difference_count:
            now = f"differs from what there is now, for example: {seen.differences[0].detail}"
        reason = f"it goes on at the source; the destination {now}. Migrate it again when it has ended"
        self._leave_out(subject_of(job.run), reason, job.run.id, expected=True)
        job.found = None

    async def _collect(self, order: MemoryObjectReceiveStream[_Job]) -> None:
        """Hash the runs in the order of their listing, whichever was compared first."""
        async with order:
            async for job in order:
                await job.done.wait()
                if not isinstance(job.found, Run):
                    continue
                found = CertifiedRun(job.namespace.path, job.found.id, job.roots)
                self._tree.add(found.leaf)
                if self._record is not None:
                    self._record.add(found)
        self._collected.set()

    async def _look_for_others(self) -> None:
        """Runs at the destination that say they came from this source, which does not have them."""
        if not self._options.sees_all:
            return
        for namespace, seen in self._seen.items():
            async with aclosing(self._audit.others(namespace)) as runs:
                async for run in runs:
                    if isinstance(run, Run) and run.id not in seen and self._audit.claims(run):
                        self.findings.differ(
                            Difference(
                                kind="extra",
                                part="run",
                                subject=subject_of(run),
                                detail=f"is in {namespace}, and says it came from the source, "
                                "which does not have it",
                                run=run.id,
                            )
                        )

    # -- tell ------------------------------------------------------------------------------------

    def _leave_out(
        self, subject: str, reason: str, run: str | None = None, *, expected: bool = False
    ) -> None:
        self.findings.leave_out(NotVerified(subject=subject, reason=reason, run=run, expected=expected))

    async def _tell_progress(self) -> None:
        while True:
            await anyio.sleep(PROGRESS_EVERY_S)
            self._tell()

    def _tell(self) -> None:
        findings = self.findings
        for difference in findings.differences[self._told :]:
            self._emit(Differs.of(difference))
        self._told = len(findings.differences)
        self._emit(Verifying.of(findings))
