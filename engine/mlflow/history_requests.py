"""The two requests by which a tracking server tells metric histories.

``get-history-bulk`` tells one metric of up to 100 runs at once, 25,000 points at most, and does not say
when it cut; it exists in MLflow's own server from 2.3 on, not in Databricks. ``get-history`` tells one metric
of one run, in pages from 3.2 on and whole before. Both measured on 2.22, 3.8 and 3.17.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.errors import CommError, IntegrityError, Side
from engine.mlflow.rest_api import TrackingApi
from engine.mlflow.store import LatestMetric
from engine.records import Json

HISTORY_PATH = "api/2.0/mlflow/metrics/get-history"
BULK_PATH = "ajax-api/2.0/mlflow/metrics/get-history-bulk"

PAGE_POINTS = 25_000
"""Points in one answer: what the bulk request gives at most, and what MLflow's client asks for a page."""

BULK_RUNS = 100
"""Runs that one bulk request may name."""


class Points(NamedTuple):
    """One metric of one run, or a part of it."""

    steps: npt.NDArray[np.int64]
    timestamps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


class Series(NamedTuple):
    """One metric of one run, by name."""

    run_id: str
    key: str


Wanted: TypeAlias = Mapping[Series, LatestMetric]


def estimate(latest: LatestMetric) -> int:
    """How many points a metric has, by its last step; wrong where steps repeat, skip or are negative."""
    return max(1, latest.step + 1)


def subject_of(series: Series) -> str:
    return f"metric {series.key!r} of run {series.run_id}"


def check_complete(series: Series, last_step: int | None, latest: LatestMetric) -> None:
    """Compare what arrived with the latest point, which was listed with the run.

    An unknown run or metric, and one that may not be read, is answered like an empty history.

    Raises:
        IntegrityError: the latest point did not arrive.
    """
    if last_step is None or last_step < latest.step:
        got = "none of its points" if last_step is None else f"its points up to step {last_step}"
        raise IntegrityError(
            f"the server tells {got}, although it lists one at step {latest.step}",
            side=Side.SOURCE,
            subject=subject_of(series),
            remedy="may this user read the run? was it deleted meanwhile?",
        )


def points_of(rows: Sequence[Mapping[str, Json]]) -> Points:
    """Columns of the rows of either answer; float64 exactly as the server printed it."""
    return Points(
        np.fromiter((row.get("step", 0) for row in rows), np.int64, len(rows)),
        np.fromiter((row.get("timestamp", 0) for row in rows), np.int64, len(rows)),
        # float() also reads protobuf's "NaN", "Infinity" and "-Infinity".
        np.fromiter((float(row.get("value", 0.0)) for row in rows), np.float64, len(rows)),
    )


async def pages(api: TrackingApi, series: Series) -> AsyncGenerator[Points]:
    """One metric of one run, page by page; never more than a page in memory.

    ``max_results`` is sent always: without it, servers from 3.2 to 3.13 answer with tokens for ever.

    Raises:
        IntegrityError: the server's pages make no progress.
    """
    token = ""
    while True:
        query = [("run_id", series.run_id), ("metric_key", series.key), ("max_results", str(PAGE_POINTS))]
        if token:
            query.append(("page_token", token))
        answer = await api.get(HISTORY_PATH, query, subject=subject_of(series))
        rows, previous, token = answer.get("metrics", ()), token, answer.get("next_page_token") or ""
        if token and (token == previous or not rows):
            raise IntegrityError(
                "the pages of the history make no progress", side=Side.SOURCE, subject=subject_of(series)
            )
        if rows:
            yield points_of(rows)
        if not token:
            return


async def first_page(api: TrackingApi, series: Series) -> Points | None:
    """The history if it fits a page, else None."""
    found: Points | None = None
    reading = pages(api, series)
    try:
        async for page in reading:
            if found is not None or len(page.steps) > PAGE_POINTS:
                return None
            found = page
            if len(page.steps) == PAGE_POINTS:
                return None
    finally:
        await reading.aclose()
    return found or points_of(())


def packs(wanted: Mapping[str, LatestMetric]) -> Iterator[list[str]]:
    """Split the runs that have a metric into bulk requests that are likely to be answered uncut."""
    pack: list[str] = []
    size = 0
    for run_id, latest in wanted.items():
        expected = estimate(latest)
        if pack and (len(pack) == BULK_RUNS or size + expected >= PAGE_POINTS):
            yield pack
            pack, size = [], 0
        pack.append(run_id)
        size += expected
    if pack:
        yield pack


class BulkAnswer(NamedTuple):
    """What one bulk request told.

    Attributes:
        found: runs whose history is complete; None for one that fills an answer alone and must be paged.
        again: runs to ask for again, because the answer was cut before or in them.
    """

    found: dict[str, Points | None]
    again: list[str]


async def bulk(api: TrackingApi, key: str, run_ids: Sequence[str]) -> BulkAnswer:
    """One metric of up to ``BULK_RUNS`` runs.

    The answer is sorted by run. With fewer than 25,000 points it is whole. With as many it may have been cut,
    in the last run that it tells or after it; the runs before that one are complete.

    Raises:
        CommError: the answer is not in the order that this conclusion needs.
    """
    query = [("run_id", run_id) for run_id in run_ids]
    query += [("metric_key", key), ("max_results", str(PAGE_POINTS))]
    answer = await api.get(BULK_PATH, query, subject=f"metric {key!r} of {len(run_ids)} runs")
    rows = answer.get("metrics")
    if rows is None:
        raise api.not_mlflow(BULK_PATH, None)
    points = points_of(rows)
    found: dict[str, Points | None] = {}
    start, run_id = 0, ""
    for run_id, group in groupby(rows, key=itemgetter("run_id")):
        end = start + sum(1 for _ in group)
        if run_id in found:
            raise CommError("the bulk history is not sorted by run", side=Side.SOURCE, subject=key)
        # Copies, because a slice would keep the whole answer in memory.
        part = slice(start, end)
        found[run_id] = Points(
            points.steps[part].copy(), points.timestamps[part].copy(), points.values[part].copy()
        )
        start = end
    if len(rows) < PAGE_POINTS:
        return BulkAnswer(found, [])
    if len(found) == 1:
        found[run_id] = None
    else:
        del found[run_id]
    return BulkAnswer(found, [run_id for run_id in run_ids if run_id not in found])
