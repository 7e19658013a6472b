"""Producer → bounded queues → worker pools.

    enumerate ─▶ runs ─▶ open (run workers) ─┬▶ histories ─▶ history workers ─┐
                                             └▶ payloads ──▶ payload workers ─┴▶ finish

Queues carry records, never payload. A pool sends only to pools right of it, so that full queues slow
the producer down and can never deadlock. An item that fails becomes a failure record and the rest goes
on; only what makes all further work pointless (a refused key, a side that is gone) stops the pipeline.

Cancelled at any moment, nothing needs to be undone: every call to a destination is idempotent, and a
run that was not finished is simply written again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from engine.errors import AuthError, EngineError, Outage
from engine.protocols import Destination, RunWriter, Source, Unreadable
from engine.records import Artifact, Blob, Namespace, Project, Receipt, Run
from engine.transfer.bandwidth import Bandwidth
from engine.transfer.events import Event, ItemFailed, RunDone
from engine.transfer.options import Options, Result

logger = logging.getLogger(__name__)

RUN_QUEUE = 64
PART_QUEUE = 64

Emit = Callable[[Event], Awaitable[None]]


@dataclass(slots=True)
class _OpenRun:
    """A run being written: how many of its parts are still under way, and what they moved."""

    run: Run
    writer: RunWriter
    destination: Namespace
    pending: int = 1
    failed: bool = False
    points: int = 0
    files: int = 0
    bytes: int = 0

    def add(self, receipt: Receipt) -> None:
        self.points += receipt.points
        self.files += receipt.files
        self.bytes += receipt.bytes


@dataclass(slots=True)
class _Part:
    """One independent part of an open run."""

    item: str
    subject: str
    job: _OpenRun
    move: Callable[[], Awaitable[Receipt]]


class Pipeline:
    """One pass over a source. ``drain()`` ends it early but cleanly."""

    def __init__(
        self,
        source: Source,
        destination: Destination,
        options: Options,
        result: Result,
        emit: Emit,
        downloads: Bandwidth,
    ) -> None:
        self._source = source
        self._destination = destination
        self._options = options
        self._result = result
        self._emit = emit
        self._downloads = downloads
        self._targets: Mapping[Namespace, Namespace] = {}
        self._enumeration = anyio.CancelScope()
        self._draining = False
        self._open_runs = anyio.Semaphore(options.open_runs)
        self.enumerating = True

    def drain(self) -> None:
        """Start no further run; those that are open are finished."""
        self._draining = True
        self._result.interrupted = True
        self._enumeration.cancel()

    async def run(self) -> None:
        """Move everything the selection names.

        Raises:
            EngineError: nothing further can succeed; what arrived so far is in the result.
        """
        projects = [project async for project in self._source.projects(self._options.selection)]
        self._targets = await self._destination.prepare(projects)
        runs_in, runs_out = anyio.create_memory_object_stream[Run](RUN_QUEUE)
        histories_in, histories_out = anyio.create_memory_object_stream[_Part](PART_QUEUE)
        payloads_in, payloads_out = anyio.create_memory_object_stream[_Part](PART_QUEUE)
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
                start(self._options.open_runs, self._open_each, runs_out, histories_in, payloads_in)
                start(self._options.history_workers, self._move_each, histories_out)
                start(self._options.artifact_workers, self._move_each, payloads_out)
                for stream in (runs_in, runs_out, histories_in, histories_out, payloads_in, payloads_out):
                    stream.close()

    # -- enumerate -------------------------------------------------------------------------------

    async def _enumerate(self, projects: list[Project], send: MemoryObjectSendStream[Run]) -> None:
        with self._enumeration:
            async with send:
                for project in projects:
                    try:
                        await self._enumerate_project(project, send)
                    except Exception as error:  # noqa: BLE001 - becomes a failure record
                        await self._failed("project", f"project {project.namespace}", error)
                    if self._limit_reached():
                        break
        self.enumerating = False

    async def _enumerate_project(self, project: Project, send: MemoryObjectSendStream[Run]) -> None:
        async with aclosing(self._source.runs(project, self._options.selection)) as runs:
            async for run in runs:
                self._result.runs_found += 1
                if isinstance(run, Unreadable):
                    self._result.runs_failed += 1
                    await self._failed("run", f"run {run.id}", run.error, run=run.id)
                else:
                    await send.send(run)
                if self._limit_reached():
                    return

    def _limit_reached(self) -> bool:
        limit = self._options.selection.limit
        return limit is not None and self._result.runs_found >= limit

    # -- open ------------------------------------------------------------------------------------

    async def _open_each(
        self,
        runs: MemoryObjectReceiveStream[Run],
        histories: MemoryObjectSendStream[_Part],
        payloads: MemoryObjectSendStream[_Part],
    ) -> None:
        async with runs, histories, payloads:
            async for run in runs:
                if self._draining:
                    continue
                # Held until the run is finished: writers keep state, so their number is bounded.
                await self._open_runs.acquire()
                namespace = self._targets[run.namespace]
                try:
                    writer = await self._destination.open_run(run, namespace)
                except Exception as error:  # noqa: BLE001 - becomes a failure record
                    self._open_runs.release()
                    self._result.runs_failed += 1
                    await self._failed("run", _named(run), error, run=run.id)
                    continue
                job = _OpenRun(run, writer, namespace)
                await self._dispatch(job, histories, payloads)
                await self._part_ended(job)

    async def _dispatch(
        self,
        job: _OpenRun,
        histories: MemoryObjectSendStream[_Part],
        payloads: MemoryObjectSendStream[_Part],
    ) -> None:
        """Send the parts of a run to the pools; ``job.pending`` counts them."""
        name = _named(job.run)
        if self._options.history:
            job.pending += 1
            move = partial(self._move_history, job)
            await histories.send(_Part("history", f"history of {name}", job, move))
        if self._options.files:
            job.pending += 1
            move = partial(self._move_files, job)
            await payloads.send(_Part("files", f"files of {name}", job, move))
        if self._options.artifacts:
            try:
                async with aclosing(self._source.artifacts(job.run)) as artifacts:
                    async for artifact in artifacts:
                        job.pending += 1
                        move = partial(self._move_artifact, job, artifact)
                        subject = f"artifact {artifact.name} of {name}"
                        await payloads.send(_Part("artifact", subject, job, move))
            except Exception as error:  # noqa: BLE001 - becomes a failure record
                job.failed = True
                await self._failed("artifact", f"artifacts of {name}", error, run=job.run.id)

    # -- move ------------------------------------------------------------------------------------

    async def _move_each(self, parts: MemoryObjectReceiveStream[_Part]) -> None:
        async with parts:
            async for part in parts:
                try:
                    part.job.add(await part.move())
                except Exception as error:  # noqa: BLE001 - becomes a failure record
                    part.job.failed = True
                    await self._failed(part.item, part.subject, error, run=part.job.run.id)
                await self._part_ended(part.job)

    async def _move_history(self, job: _OpenRun) -> Receipt:
        async with aclosing(self._source.history(job.run)) as chunks:
            return await job.writer.write_history(chunks)

    async def _move_files(self, job: _OpenRun) -> Receipt:
        async with aclosing(self._source.files(job.run)) as files:
            return await job.writer.write_files(files, self._read)

    async def _move_artifact(self, job: _OpenRun, artifact: Artifact) -> Receipt:
        async with aclosing(self._source.entries(artifact)) as entries:
            return await job.writer.write_artifact(artifact, entries, self._read)

    async def _read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        """The source's ``read``, no faster than it may be."""
        async with aclosing(self._source.read(blob, offset)) as pieces:
            async for piece in pieces:
                await self._downloads.take(len(piece))
                yield piece

    async def _part_ended(self, job: _OpenRun) -> None:
        job.pending -= 1
        if job.pending:
            return
        try:
            job.add(await job.writer.finish(complete=not job.failed))
        except Exception as error:  # noqa: BLE001 - becomes a failure record
            job.failed = True
            await self._failed("run", _named(job.run), error, run=job.run.id)
        finally:
            self._open_runs.release()
        if job.failed:
            self._result.runs_failed += 1
            return
        self._result.runs_done += 1
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

    async def _failed(self, item: str, subject: str, error: Exception, *, run: str | None = None) -> None:
        """Record what did not arrive.

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
        await self._emit(failure)
        if isinstance(error, Outage) or (isinstance(error, AuthError) and error.status == 401):
            raise error


def _named(run: Run) -> str:
    return f"run {run.id}" if not run.name or run.name == run.id else f"run {run.id} ({run.name})"
