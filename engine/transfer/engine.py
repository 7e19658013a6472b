"""The public way to run a transfer."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from engine.errors import AuthError, ConfigError, EngineError, Problem
from engine.protocols import Destination, Source
from engine.records import Loss, Project
from engine.transfer.background import Background
from engine.transfer.checks import Checks
from engine.transfer.collections import by_collection
from engine.transfer.context import Context, LossLedger
from engine.transfer.events import Connected, Event, Finished, ItemFailed, LossRecorded, Progress
from engine.transfer.ledger.identity import IdMap
from engine.transfer.ledger.journal import Journal
from engine.transfer.ledger.ledger import open_ledger
from engine.transfer.ledger.memos import Memos
from engine.transfer.ledger.old_ledgers import inherited
from engine.transfer.ledger.sharing import Sharing
from engine.transfer.options import Options, Result
from engine.transfer.pipeline import Pipeline
from engine.transfer.planning.plan import Plan
from engine.transfer.planning.planner import make_plan
from engine.transfer.planning.preflight import Findings, open_sides
from engine.transfer.session_log import Began, SessionLog, session_log

EVENT_BUFFER = 1_024
PROGRESS_EVERY_S = 0.5
LOSS_EXAMPLES = 5
"""Of each kind, told at the end."""


class Engine:
    """Moves everything that a selection names from a source to a destination.

    async with Engine(open_source("mlflow:http://…"), open_destination("wandb:team/imported")) as engine:
        async for event in engine.events():      # optional
            ...
        result = await engine.run()

    Entering connects to both sides and looks for all that can be known to go wrong, without writing to
    either; what does not stand in the way is in ``warnings``. Several engines may share an event loop; none
    of them touches signals, logging or other state of the process. Leaving early, or cancelling, stops all
    work; what arrived stays, and running the same transfer again completes it.

    Raises:
        EngineError: on entering, if a side cannot be used, a ``PreflightError`` if there are several
            reasons; from ``run`` and ``events``, if the transfer could not go on. Items that fail alone
            don't raise: they are in the result.
    """

    def __init__(self, source: Source, destination: Destination, options: Options | None = None) -> None:
        self._source = source
        self._destination = destination
        self._options = options or Options()
        self._result = Result()
        self._subscribers: list[MemoryObjectSendStream[Event]] = []
        self._untold_losses: deque[Loss] = deque()
        self._stack = AsyncExitStack()
        self._started = False
        self._ended = anyio.Event()
        self._error: EngineError | None = None
        self._tasks: TaskGroup
        self._pipeline: Pipeline
        self._context: Context
        self._connected: Connected
        self._projects: Sequence[Project]
        self._log: SessionLog

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            spool = Path(tempfile.mkdtemp(prefix="transfer-engine-", dir=self._options.spool))
            stack.callback(shutil.rmtree, spool, ignore_errors=True)
            self._context = self._options.context(
                spool,
                self._result.counters,
                LossLedger(
                    # Losses are also recorded in threads, where nothing can be sent.
                    on_first=self._untold_losses.append,
                    counts=self._result.losses,
                    examples=self._result.loss_examples,
                ),
            )
            inheritance = await inherited(
                self._options.old_ledger,
                self._source,
                self._destination,
                self._result,
                self._options.artifacts,
            )
            findings = Findings()
            ledger = await findings.enter(
                stack,
                open_ledger(
                    self._source.uri,
                    self._destination.uri,
                    state_dir=self._options.state_dir,
                    scratch=spool,
                    url=self._options.ledger,
                    share=self._options.share,
                    patience_s=self._options.patience_s,
                    command=self._options.command,
                    notices=self._context.notices,
                ),
            )
            began = Began.by_me(self._source.uri, self._destination.uri, self._options.command)
            self._log = stack.enter_context(
                session_log(self._options.state_dir if ledger is not None else None, began)
            )
            self._context.ids = IdMap(ledger, ledger)
            self._context.memos = Memos(ledger, reads=self._options.incremental)
            sides = await open_sides(
                self._source,
                self._destination,
                self._options.selection,
                self._context,
                stack,
                findings,
                state_dir=self._options.state_dir,
                artifacts=self._options.artifacts,
            )
            assert ledger is not None
            self._projects = sides.projects
            self._connected = Connected(
                source=sides.source, destination=sides.destination, warnings=sides.warnings
            )
            journal = Journal(
                ledger,
                self._options.parts,
                incremental=self._options.incremental,
                recheck=self._options.recheck_artifacts,
            )
            self._pipeline = Pipeline(
                self._source,
                self._destination,
                self._options,
                self._result,
                journal,
                Checks(
                    self._source,
                    # Collections are looked at each time.
                    self._options.recheck_artifacts and not by_collection(self._source, self._destination),
                    inheritance,
                ),
                self._emit,
                self._context.downloads,
                Sharing(journal, self._result) if self._options.share else None,
            )
            self._log.see(self._connected)
            self._tasks = await stack.enter_async_context(Background())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._stack.__aexit__(exc_type, exc, traceback)

    async def plan(
        self, *, sample: int | None = None, progress: Callable[[int], object] = lambda _: None
    ) -> Plan:
        """What a transfer would find and do, without doing any of it; not to be entered before.

        Args:
            sample: look at the histories, files and artifacts of only so many runs, and extrapolate.
            progress: is called with the number of runs that were listed so far.

        Raises:
            EngineError: it could not even begin; a ``PreflightError`` if there are several reasons.
        """
        return await make_plan(
            self._source, self._destination, self._options, sample=sample, progress=progress
        )

    async def run(self) -> Result:
        """Run to the end, or wait for the end if ``events()`` already started it.

        Raises:
            EngineError: the transfer could not go on; ``result`` has what was done so far.
        """
        self._start()
        await self._ended.wait()
        if self._error is not None:
            raise self._error
        return self._result

    async def events(self) -> AsyncGenerator[Event]:
        """Start the transfer if need be, and yield what happens until ``Finished``.

        A slow reader slows the transfer down, rather than missing a failure; only ``Progress`` is skipped.
        """
        send, receive = anyio.create_memory_object_stream[Event](EVENT_BUFFER)
        self._stack.callback(send.close)
        send.send_nowait(self._connected)
        self._subscribers.append(send)
        self._start()
        async with receive:
            async for event in receive:
                yield event
                if isinstance(event, Finished):
                    return

    def drain(self) -> None:
        """Finish the runs that are open, start no other, then end; a second run does the rest."""
        self._pipeline.drain()

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What was found on entering that does not stand in the way."""
        return self._connected.warnings

    @property
    def result(self) -> Result:
        """What was done so far."""
        return self._result

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._tasks.start_soon(self._work)

    async def _work(self) -> None:
        began = time.monotonic()
        try:
            async with anyio.create_task_group() as helpers:
                helpers.start_soon(self._report_progress, began)
                await self._pipeline.run(self._projects)
                helpers.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            self._error = _decisive(group)
        finally:
            self._result.elapsed_s = time.monotonic() - began
        await self._tell_losses()
        if self._error is not None:
            await self._emit(ItemFailed.of("transfer", "transfer", self._error))
        await self._emit(self._progress(began))
        await self._emit(self._finished())
        self._result.samples = self._log.samples
        self._ended.set()

    async def _report_progress(self, began: float) -> None:
        while True:
            await anyio.sleep(PROGRESS_EVERY_S)
            await self._tell_losses()
            await self._emit(self._progress(began))

    def _progress(self, began: float) -> Progress:
        result, counters = self._result, self._result.counters
        throttles = tuple(self._context.throttles.states())
        return Progress(
            enumerating=self._pipeline.enumerating,
            runs_found=result.runs_found,
            runs_done=result.runs_done,
            runs_failed=result.runs_failed,
            points=counters.points,
            files=counters.files,
            bytes=counters.bytes,
            requests=counters.requests,
            elapsed_s=time.monotonic() - began,
            runs_skipped=result.runs_skipped,
            waiting=(
                *(
                    f"{state.host} does not answer ({state.endpoint}, {state.down_s:.0f} s)"
                    for state in throttles
                    if state.down_s is not None
                ),
                *sorted(self._context.notices),
            ),
            throttles=throttles,
            losses=dict(result.losses),
        )

    def _finished(self) -> Finished:
        result, counters = self._result, self._result.counters
        return Finished(
            runs_done=result.runs_done,
            runs_failed=result.runs_failed,
            failures=result.failure_count,
            losses=dict(result.losses),
            points=counters.points,
            files=counters.files,
            bytes=counters.bytes,
            requests=counters.requests,
            elapsed_s=result.elapsed_s,
            runs_skipped=result.runs_skipped,
            runs_live=result.runs_live,
            exit_status=3 if self._error is not None else result.exit_status,
            loss_examples=tuple(
                loss for examples in result.loss_examples.values() for loss in examples[:LOSS_EXAMPLES]
            ),
        )

    async def _emit(self, event: Event) -> None:
        self._log.see(event)
        for subscriber in list(self._subscribers):
            try:
                if isinstance(event, Progress):
                    subscriber.send_nowait(event)
                else:
                    await subscriber.send(event)
            except anyio.WouldBlock:
                continue
            except anyio.BrokenResourceError:  # its reader left, which others may find out at the same time
                if subscriber in self._subscribers:
                    self._subscribers.remove(subscriber)

    async def _tell_losses(self) -> None:
        while self._untold_losses:
            await self._emit(LossRecorded(loss=self._untold_losses.popleft()))


def _decisive(group: BaseExceptionGroup) -> EngineError:
    """The error that a group of them stands for, so that callers can catch it by its class.

    Of several, a refused key or a wrong request explains the others.

    Raises:
        BaseException: one in the group is not ours, so it is a defect and must not be dressed up.
    """
    ours, others = group.split(EngineError)
    if others is not None:
        raise others
    assert ours is not None
    leaves = list(_leaves(ours))
    return next((e for e in leaves if isinstance(e, AuthError | ConfigError)), leaves[0])


def _leaves(error: BaseException) -> list[EngineError]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    assert isinstance(error, EngineError)
    return [error]
