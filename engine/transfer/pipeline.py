"""Producer → bounded queues → worker pools.

    enumerate ─▶ runs ─▶ open (run workers) ─┬▶ histories ─▶ history workers ─┐
                                             └▶ payloads ──▶ payload workers ─┴▶ finish

Queues carry records, never payload. A pool sends only to pools right of it, so that full queues slow
the producer down and can never deadlock. An item that fails becomes a failure record and the rest goes
on; only what makes all further work pointless (a refused key, a side that is gone) stops the pipeline.

Before a run is opened, the journal tells what earlier transfers proved of it; that is not done again.
Cancelled at any moment, nothing needs to be undone: every call to a destination is idempotent, and what
was not acknowledged is simply written again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from engine.errors import AuthError, EngineError, Outage
from engine.fingerprints import ContentFingerprint
from engine.protocols import (
    Destination,
    LogSource,
    LogWriter,
    Referring,
    RunRenamer,
    Source,
    Unreadable,
)
from engine.records import Artifact, Blob, Namespace, Project, Receipt, Run, RunRef
from engine.selection import absent
from engine.transfer.checks import Checks
from engine.transfer.collections import artifacts_with_runs, collections_between
from engine.transfer.events import Event, ItemFailed, RunDone
from engine.transfer.failing import Tell
from engine.transfer.ledger.items import Kind
from engine.transfer.ledger.journal import Journal, artifact_key
from engine.transfer.ledger.proofs import Known
from engine.transfer.ledger.sharing import Sharing
from engine.transfer.open_runs import OpenRun, Part, subject_of
from engine.transfer.options import Options, Result
from engine.transfer.reports import Reports
from engine.transfer.throttling.bandwidth import Bandwidth

logger = logging.getLogger(__name__)

RUN_QUEUE = 64
PART_QUEUE = 64

Emit = Callable[[Event], Awaitable[None]]


class Pipeline:
    """One pass over a source. ``drain()`` ends it early but cleanly."""

    def __init__(
        self,
        source: Source,
        destination: Destination,
        options: Options,
        result: Result,
        journal: Journal,
        checks: Checks,
        emit: Emit,
        downloads: Bandwidth,
        sharing: Sharing | None = None,
    ) -> None:
        self._source = source
        self._destination = destination
        self._options = options
        self._result = result
        self._journal = journal
        self._checks = checks
        self._emit = emit
        self._downloads = downloads
        self._sharing = sharing
        self._targets: Mapping[Namespace, Namespace] = {}
        self._chosen: set[RunRef] = set()
        self._left = options.selection.limit
        self._named = set(options.selection.ids)
        """Runs that may still be moved; None for any number."""
        self._enumeration = anyio.CancelScope()
        self._drain = anyio.Event()
        self._open_runs = anyio.Semaphore(options.open_runs)
        self.enumerating = True
        self._reports = Reports.between(source, destination, journal, self._failed, self._read, self._drain)
        self._artifacts_of = artifacts_with_runs(source, destination)
        self._collections = collections_between(
            source,
            destination,
            wanted=options.artifacts,
            journal=journal,
            failed=self._failed,
            read=self._read,
            drain=self._drain,
            workers=options.artifact_workers,
        )

    def drain(self) -> None:
        """Start no further run; those that are open are finished."""
        self._drain.set()
        self._result.interrupted = True
        self._result.unlisted = self.enumerating
        self._enumeration.cancel()
        if self._sharing is not None:
            self._sharing.stop()

    async def run(self, projects: Sequence[Project]) -> None:
        """Move everything that the selection names of these projects.

        Raises:
            EngineError: nothing further can succeed; what arrived so far is in the result.
        """
        self._targets = await self._destination.prepare(projects)
        try:
            await self._move_all(projects)
        finally:
            self._count_wholes()

    async def _move_all(self, projects: Sequence[Project]) -> None:
        if self._options.runs:
            if self._reports is not None:
                await self._reports.move_sweeps(projects, self._targets)
            await self._move_runs(projects)
            if self._sharing is not None and isinstance(self._destination, RunRenamer):
                await self._destination.learn_ids()
        self.enumerating = False
        if self._collections is not None:
            chosen = frozenset(self._chosen) if self._options.selection.is_partial else None
            await self._collections.move(projects, self._targets, chosen)
            # Of engines that share, each sees only some of the collections.
            if isinstance(self._source, Referring) and self._sharing is None and not self._drain.is_set():
                await self._source.tell_unmoved()
        if self._reports is not None and self._options.reports:
            await self._reports.move_views(projects, self._targets)

    def _count_wholes(self) -> None:
        if self._collections is not None:
            self._result.versions = self._collections.progress.versions
        if self._reports is not None:
            self._result.reports = self._reports.written.total()

    async def _move_runs(self, projects: Sequence[Project]) -> None:
        runs_in, runs_out = anyio.create_memory_object_stream[Run](RUN_QUEUE)
        mine_in, mine_out = anyio.create_memory_object_stream[Run](0)
        histories_in, histories_out = anyio.create_memory_object_stream[Part](PART_QUEUE)
        payloads_in, payloads_out = anyio.create_memory_object_stream[Part](PART_QUEUE)
        # Workers close their own ends when they stop; the stack closes those of workers that were
        # cancelled before they began.
        with ExitStack() as ends:
            async with anyio.create_task_group() as workers:

                def start(
                    count: int,
                    work: Callable[..., Coroutine[Any, Any, None]],
                    *streams: MemoryObjectReceiveStream[Any] | MemoryObjectSendStream[Any],
                ) -> None:
                    for _ in range(count):
                        own = [ends.enter_context(stream.clone()) for stream in streams]
                        workers.start_soon(work, *own)

                start(1, partial(self._enumerate, projects), runs_in)
                ours = runs_out
                if self._sharing is not None:
                    start(1, partial(self._sharing.divide, self._targets), runs_out, mine_in)
                    ours = mine_out
                start(self._options.open_runs, self._open_each, ours, histories_in, payloads_in)
                start(self._options.history_workers, self._move_each, histories_out)
                start(self._options.artifact_workers, self._move_each, payloads_out)
                for queue in (
                    (runs_in, runs_out),
                    (mine_in, mine_out),
                    (histories_in, histories_out),
                    (payloads_in, payloads_out),
                ):
                    for stream in queue:
                        stream.close()

    # -- enumerate -------------------------------------------------------------------------------

    async def _enumerate(self, projects: Sequence[Project], send: MemoryObjectSendStream[Run]) -> None:
        with self._enumeration:
            async with send:
                for project in projects:
                    if self._left == 0:
                        break
                    try:
                        await self._enumerate_project(project, send)
                    except Exception as error:  # noqa: BLE001 - becomes a failure record
                        tell = partial(self._journal.project_listed, project)
                        self._named.clear()  # they may be in there
                        await self._failed("project", f"project {project.namespace}", error, tell)
                    else:
                        await self._journal.project_listed(project)
            if self._left is None:
                await self._tell_absent()
        self.enumerating = False

    async def _tell_absent(self) -> None:
        """Report ids that were named and that no run has."""
        for run_id in sorted(self._named):
            await self._failed("run", f"run {run_id}", absent(run_id), _forgotten, run=run_id)

    async def _enumerate_project(self, project: Project, send: MemoryObjectSendStream[Run]) -> None:
        async with aclosing(self._source.runs(project, replace(self._options.selection, limit=None))) as runs:
            async for run in runs:
                self._result.runs_found += 1
                self._named.discard(run.id)
                await self._count_against_limit(run)
                if isinstance(run, Unreadable):
                    self._result.runs_failed += 1
                    tell = partial(self._journal.unreadable, project, run.id)
                    await self._failed("run", f"run {run.id}", run.error, tell, run=run.id)
                else:
                    if self._collections is not None and self._options.selection.is_partial:
                        self._chosen.add(RunRef(run.namespace, run.id))
                    await send.send(run)
                if self._left == 0:
                    return

    async def _count_against_limit(self, run: Run | Unreadable) -> None:
        """A limit is one of work: a run that is there already leaves room for another one."""
        if self._left is None:
            return
        if isinstance(run, Unreadable) or not await self._journal.is_proven(
            run, self._targets[run.namespace]
        ):
            self._left -= 1

    # -- open ------------------------------------------------------------------------------------

    async def _open_each(
        self,
        runs: MemoryObjectReceiveStream[Run],
        histories: MemoryObjectSendStream[Part],
        payloads: MemoryObjectSendStream[Part],
    ) -> None:
        async with runs, histories, payloads:
            async for run in runs:
                if self._drain.is_set():
                    continue
                namespace = self._targets[run.namespace]
                known = await self._known(run, namespace)
                if known is None:
                    continue
                if known.complete:
                    await self._journal.run_unchanged(run)
                    self._result.runs_skipped += 1
                    continue
                # Held until the run is finished: writers keep state, so their number is bounded.
                await self._open_runs.acquire()
                if self._drain.is_set():
                    self._open_runs.release()
                    continue
                await self._journal.run_opened(run, namespace, known)
                try:
                    writer = await self._destination.open_run(run, namespace)
                except Exception as error:  # noqa: BLE001 - becomes a failure record
                    self._open_runs.release()
                    await self._run_failed(run, namespace, error, known)
                    continue
                job = OpenRun(run, writer, namespace, known)
                if self._reports is not None and (missing := self._reports.missing_for(run)) is not None:
                    job.fail(missing)
                await self._dispatch(job, histories, payloads)
                await self._part_ended(job)

    async def _known(self, run: Run, namespace: Namespace) -> Known | None:
        """What need not be done again; None if that could not be found out, which is told."""
        known = await self._journal.known(run, namespace)
        try:
            return await self._checks.of(run, namespace, known)
        except Exception as error:  # noqa: BLE001 - becomes a failure record
            await self._run_failed(run, namespace, error, known)
            return None

    async def _dispatch(
        self,
        job: OpenRun,
        histories: MemoryObjectSendStream[Part],
        payloads: MemoryObjectSendStream[Part],
    ) -> None:
        """Send the parts of a run to the pools; ``job.pending`` counts them."""
        name, known = subject_of(job.run), job.known
        for kind, note in known.notes.items():
            job.writer.resume(kind, note)
        if self._options.history and Kind.HISTORY not in known.notes:
            await histories.send(
                self._part(Kind.HISTORY, f"history of {name}", job, partial(self._move_history, job))
            )
        if self._options.files and Kind.FILES not in known.notes:
            await payloads.send(
                self._part(Kind.FILES, f"files of {name}", job, partial(self._move_files, job))
            )
        if self._options.artifacts and self._artifacts_of is not None:
            try:
                async with aclosing(self._artifacts_of(job.run)) as artifacts:
                    async for artifact in artifacts:
                        if artifact_key(artifact) not in known.artifacts:
                            await payloads.send(self._artifact_part(artifact, job))
            except Exception as error:  # noqa: BLE001 - becomes a failure record
                subject = f"artifacts of {name}"
                tell = partial(self._journal.part_failed, Kind.ARTIFACT, job.run, job.destination)
                job.fail(await self._failed("artifact", subject, error, tell, run=job.run.id))

    def _part(self, kind: Kind, subject: str, job: OpenRun, move: Callable[[], Awaitable[Receipt]]) -> Part:
        job.pending += 1
        return Part(
            kind, subject, job, move, partial(self._journal.part_failed, kind, job.run, job.destination)
        )

    def _artifact_part(self, artifact: Artifact, job: OpenRun) -> Part:
        job.pending += 1
        return Part(
            Kind.ARTIFACT,
            f"artifact {artifact.name} of {subject_of(job.run)}",
            job,
            partial(self._move_artifact, job, artifact),
            partial(self._journal.artifact_failed, artifact, job.run, job.destination),
        )

    # -- move ------------------------------------------------------------------------------------

    async def _move_each(self, parts: MemoryObjectReceiveStream[Part]) -> None:
        async with parts:
            async for part in parts:
                job = part.job
                try:
                    job.add(await part.move())
                except Exception as error:  # noqa: BLE001 - becomes a failure record
                    job.fail(await self._failed(part.kind, part.subject, error, part.failed, run=job.run.id))
                await self._part_ended(job)

    async def _move_history(self, job: OpenRun) -> Receipt:
        async with aclosing(self._source.history(job.run)) as chunks:
            job.history = await job.writer.write_history(chunks)
        if isinstance(self._source, LogSource) and isinstance(job.writer, LogWriter):
            async with (
                aclosing(self._source.system_metrics(job.run)) as metrics,
                aclosing(self._source.console(job.run)) as console,
            ):
                await job.writer.write_logs(metrics, console)
        return job.history

    async def _move_files(self, job: OpenRun) -> Receipt:
        async with aclosing(self._source.files(job.run)) as files:
            receipt = await job.writer.write_files(files, self._read)
        await self._journal.part_done(Kind.FILES, job.run, job.destination, receipt)
        return receipt

    async def _move_artifact(self, job: OpenRun, artifact: Artifact) -> Receipt:
        content = ContentFingerprint(artifact)
        async with aclosing(self._source.entries(artifact)) as entries:
            receipt = await job.writer.write_artifact(artifact, content.watch(entries), self._read)
        await self._journal.artifact_done(artifact, job.run, job.destination, receipt, content.value())
        return receipt

    async def _read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        """The source's ``read``, no faster than it may be."""
        async with aclosing(self._source.read(blob, offset)) as pieces:
            async for piece in pieces:
                await self._downloads.take(len(piece))
                yield piece

    async def _part_ended(self, job: OpenRun) -> None:
        job.pending -= 1
        if job.pending:
            return
        try:
            job.add(await job.writer.finish(complete=not job.failed))
        except Exception as error:  # noqa: BLE001 - becomes a failure record
            self._open_runs.release()
            await self._run_failed(job.run, job.destination, error, job.known)
            return
        self._open_runs.release()
        if job.history is not None:
            await self._journal.part_done(Kind.HISTORY, job.run, job.destination, job.history)
        if job.failed:
            self._result.runs_failed += 1
            await self._journal.run_failed(job.run, job.destination, job.known, job.problems)
            return
        await self._journal.run_done(job.run, job.destination, job.known)
        self._result.runs_done += 1
        self._result.runs_live += job.run.state.is_live
        await self._emit(
            RunDone(
                run=job.run.id,
                name=job.run.name,
                destination=job.destination.path,
                points=job.points,
                files=job.files,
                bytes=job.bytes,
            )
        )

    # -- failures --------------------------------------------------------------------------------

    async def _run_failed(self, run: Run, destination: Namespace, error: Exception, known: Known) -> None:
        self._result.runs_failed += 1

        async def tell(error: EngineError) -> None:
            await self._journal.run_failed(run, destination, known, [str(error)], error)

        await self._failed("run", subject_of(run), error, tell, run=run.id)

    async def _failed(
        self, item: str, subject: str, error: Exception, tell: Tell, *, run: str | None = None
    ) -> EngineError:
        """Record what did not arrive, and return the error as one of ours.

        Raises:
            EngineError: if the error means that nothing further can succeed.
        """
        if not isinstance(error, EngineError):
            logger.error("unexpected error at %s", subject, exc_info=error)
            error = EngineError(
                f"unexpected {type(error).__name__}: {error}",
                subject=subject,
                remedy="please report this with the log",
                exc=error,
            )
        failure = ItemFailed.of(item, subject, error, run=run)
        self._result.add_failure(failure)
        await tell(error)
        await self._emit(failure)
        if isinstance(error, Outage) or (isinstance(error, AuthError) and error.status == 401):
            raise error
        return error


async def _forgotten(_: EngineError) -> None:
    """Of what never was, the ledger holds nothing."""
