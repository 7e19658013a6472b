"""Histories of a tracking server: few large requests where histories are short, pages where they are long.

A destination asks for one run at a time, while the server is fastest when asked for one metric of many runs.
So the reader looks ahead, as a file system does: runs that were listed but not asked for yet join the
request of the run that is asked for, and their points wait in memory until their turn. The look-ahead
doubles while it proves right and collapses when it does not, as when an incremental transfer skips most runs.

What is held is bounded: a batch is planned to have at most ``BATCH_POINTS`` points, what turns out to
have more is left to paging, and only ``BATCHES`` batches are kept. A long metric (more than one answer can
hold) is never held: its pages go straight through.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import anyio
import numpy as np
import pyarrow as pa

from engine.errors import AuthError, CommError, NotFound, Unsupported
from engine.mlflow.history_requests import (
    BULK_RUNS,
    PAGE_POINTS,
    Points,
    Series,
    bulk,
    check_complete,
    estimate,
    first_page,
    packs,
    pages,
)
from engine.mlflow.points import metric_points, restore_infinities
from engine.mlflow.store import LatestMetric
from engine.records import MetricPoints

if TYPE_CHECKING:
    from engine.mlflow.rest_api import TrackingApi
    from engine.transfer.context import Context

T = TypeVar("T")

Metrics: TypeAlias = Mapping[str, LatestMetric]

BATCH_POINTS = 2**19
"""Points that a batch is planned to have at most: 12 MiB. Reading stops at twice as many."""

BATCHES = 4
"""Batches whose points may wait at the same time."""

FIRST_LOOK_AHEAD = 8
"""Runs in the first batch."""

REQUESTS_IN_FLIGHT = 8
"""Requests that one run or batch sends at the same time; the throttle decides over all of them."""

PORTION_SERIES = 64
"""Metrics of one run that are held at the same time when they are paged; each has a page at most."""

LISTED_RUNS = 2_000
"""Listed runs that are remembered for looking ahead."""


@dataclass(slots=True)
class _Batch:
    """Short metrics of some runs, fetched together by the first one who needs them."""

    runs: Mapping[str, Metrics]
    waiting: set[str]
    """The runs that were not asked for yet."""
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    fetched: bool = False
    found: dict[Series, Points | None] = field(default_factory=dict)
    """None for a metric that is long after all."""


class HistoryReader:
    """Reads the histories of one server.

    Args:
        bulk: whether the server may have ``get-history-bulk``; False spares the attempt.
    """

    def __init__(self, api: TrackingApi, context: Context, *, bulk: bool) -> None:
        self._api = api
        self._context = context
        self._bulk = bulk
        self._bulk_proved = False
        self._listed: OrderedDict[str, Metrics] = OrderedDict()
        self._batches: list[_Batch] = []
        self._look_ahead = FIRST_LOOK_AHEAD

    def expect(self, run_id: str, latest: Metrics) -> None:
        """Say that a run was listed; the order of calls is the order in which histories will be asked for."""
        self._listed[run_id] = latest
        if len(self._listed) > LISTED_RUNS:
            self._listed.popitem(last=False)

    async def read(self, run_id: str, latest: Metrics) -> AsyncGenerator[MetricPoints]:
        """Every point of the metrics in ``latest``, in chunks.

        Raises:
            IntegrityError: the server withholds a point that it listed.
        """
        short = _short(latest)
        long = [key for key in latest if key not in short]
        if self._bulk and _size(short) <= BATCH_POINTS:
            part = await self._from_batch(run_id, short)
            for chunk in self._chunks(run_id, part):
                yield chunk
            long += [key for key, points in part.items() if points is None]
            short = {key: point for key, point in short.items() if key not in part}
        remaining = iter(short)
        while keys := list(islice(remaining, PORTION_SERIES)):
            part = await self._first_pages(run_id, {key: short[key] for key in keys})
            for chunk in self._chunks(run_id, part):
                yield chunk
            long += [key for key, points in part.items() if points is None]
        for key in long:
            async for chunk in self._paged(Series(run_id, key), latest[key]):
                yield chunk

    async def _paged(self, series: Series, latest: LatestMetric) -> AsyncGenerator[MetricPoints]:
        last_step: int | None = None
        async for page in pages(self._api, series):
            highest = int(page.steps.max())
            last_step = highest if last_step is None else max(last_step, highest)
            for chunk in self._chunks(series.run_id, {series.key: page}):
                yield chunk
        check_complete(series, last_step, latest)

    async def _first_pages(self, run_id: str, metrics: Metrics) -> dict[str, Points | None]:
        """The histories of some metrics of a run; None for one that is longer than a page."""
        found: dict[str, Points | None] = {}

        async def read(key: str) -> None:
            series = Series(run_id, key)
            points = found[key] = await first_page(self._api, series)
            if points is not None:
                check_complete(series, _last_step(points), metrics[key])

        await _each(deque(metrics), read)
        return found

    async def _from_batch(self, run_id: str, short: Metrics) -> dict[str, Points | None]:
        """Metrics of a run from the batch that it is in; without those that the batch did not get."""
        batch = next((one for one in self._batches if run_id in one.waiting), None)
        if batch is None:
            batch = self._new_batch(run_id, short)
        batch.waiting.remove(run_id)
        if not batch.waiting:
            # All that was fetched ahead was of use.
            self._batches.remove(batch)
            self._look_ahead = min(BULK_RUNS, self._look_ahead * 2)
        # If the one who fetches fails or is cancelled, the next one in the queue fetches.
        async with batch.lock:
            if not batch.fetched:
                batch.found = await self._fetch(batch.runs)
                batch.fetched = True
        complete: dict[str, Points | None] = {}
        for key, latest in short.items():
            series = Series(run_id, key)
            if series in batch.found:
                points = batch.found.pop(series)
                if points is None or points.steps.max() >= latest.step:
                    complete[key] = points
        return complete

    def _new_batch(self, run_id: str, short: Metrics) -> _Batch:
        runs = {run_id: short}
        room = BATCH_POINTS - _size(short)
        following = _after(run_id, self._listed)
        self._listed.pop(run_id, None)
        for other in following:
            metrics = _short(self._listed[other])
            room -= _size(metrics)
            if len(runs) >= self._look_ahead or room < 0:
                break
            runs[other] = metrics
            del self._listed[other]
        batch = _Batch(runs, set(runs))
        self._batches.append(batch)
        if len(self._batches) > BATCHES:
            del self._batches[0]
            self._look_ahead = 1
        return batch

    async def _fetch(self, runs: Mapping[str, Metrics]) -> dict[Series, Points | None]:
        """Ask for the metrics of all these runs in bulk. What cannot be had so is absent from the result."""
        by_key: dict[str, dict[str, LatestMetric]] = {}
        for run_id, metrics in runs.items():
            for key, latest in metrics.items():
                by_key.setdefault(key, {})[run_id] = latest
        todo = deque((key, pack) for key, wanted in by_key.items() for pack in packs(wanted))
        found: dict[Series, Points | None] = {}
        held = 0

        async def read(request: tuple[str, list[str]]) -> None:
            nonlocal held
            key, run_ids = request
            if held > 2 * BATCH_POINTS:
                # The estimates were far too low; what is left is not held but streamed.
                found.update((Series(run_id, key), None) for run_id in run_ids)
                return
            answer = await bulk(self._api, key, run_ids)
            self._bulk_proved = True
            for run_id, points in answer.found.items():
                found[Series(run_id, key)] = points
                held += 0 if points is None else len(points.steps)
            if answer.again:
                todo.append((key, answer.again))

        try:
            await _each(todo, read)
        except (NotFound, AuthError, Unsupported, CommError):
            # Either one run of the batch is the cause, or the server or a gateway has no bulk request.
            # Paging each run by itself gets what there is, and blames the right one.
            self._bulk = self._bulk_proved
        return found

    def _chunks(self, run_id: str, part: Mapping[str, Points | None]) -> Iterator[MetricPoints]:
        """The metrics as Arrow, several short ones to a chunk."""
        present = [(key, points) for key, points in part.items() if points is not None and len(points.steps)]
        if not present:
            return
        names = pa.array([key for key, _ in present], pa.string())
        index = np.repeat(
            np.arange(len(present), dtype=np.int32), [len(points.steps) for _, points in present]
        )
        steps, timestamps, values = (
            np.concatenate(columns) for columns in zip(*(points for _, points in present), strict=True)
        )
        for start in range(0, len(steps), MetricPoints.CHUNK_POINTS):
            cut = slice(start, start + MetricPoints.CHUNK_POINTS)
            yield metric_points(
                pa.DictionaryArray.from_arrays(index[cut], names),
                pa.array(steps[cut]),
                pa.array(timestamps[cut]),
                restore_infinities(pa.array(values[cut]), run_id, self._context),
            )


def _short(latest: Metrics) -> Metrics:
    return {key: point for key, point in latest.items() if estimate(point) < PAGE_POINTS}


def _size(metrics: Metrics) -> int:
    return sum(map(estimate, metrics.values()))


def _last_step(points: Points) -> int | None:
    return int(points.steps.max()) if len(points.steps) else None


def _after(run_id: str, listed: Mapping[str, Metrics]) -> list[str]:
    """The runs that were listed after this one, as many as a batch may take."""
    if run_id not in listed:
        return []
    ids = iter(listed)
    for other in ids:
        if other == run_id:
            break
    return list(islice(ids, BULK_RUNS))


async def _each(todo: deque[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Await ``work`` on every item, a few at a time; the first error ends all and is raised bare.

    ``work`` may append to the queue.
    """

    async def worker() -> None:
        while todo:
            await work(todo.popleft())

    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(REQUESTS_IN_FLIGHT):
                tasks.start_soon(worker)
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
