"""How long histories are, counted by the database: one statement for many runs."""

# ruff: noqa: S608 - only question marks are put into the statement; values are arguments

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from engine.mlflow.sql.database import Session
from engine.mlflow.store import Listed
from engine.records import HistorySize

COUNTED_RUNS = 100
"""Runs of one statement, so that it takes a moment rather than minutes."""

COUNTED_SERIES = 50_000
"""Metrics of one statement, each a row of its result."""


def portions(runs: Iterable[Listed]) -> Iterator[list[str]]:
    """The ids of runs that one statement can count."""
    portion: list[str] = []
    series = 0
    for run in runs:
        if portion and (len(portion) == COUNTED_RUNS or series + len(run.latest) > COUNTED_SERIES):
            yield portion
            portion, series = [], 0
        portion.append(run.run_id)
        series += len(run.latest)
    if portion:
        yield portion


def sizes(session: Session, run_ids: Sequence[str]) -> dict[str, HistorySize]:
    """By run id; runs without points are left out.

    Answered from MLflow's index on (run_uuid, key, step) alone, where the release has it; this is the shape
    that SQLite sorts least for.
    """
    marks = ", ".join("?" * len(run_ids))
    rows = session.rows(
        'SELECT run_uuid, "key", COUNT(*), COUNT(DISTINCT step), MIN(step), MAX(step) FROM metrics '
        f'WHERE run_uuid IN ({marks}) GROUP BY run_uuid, "key"',
        "ttiiii",
        run_ids,
    )
    by_run: dict[str, list[tuple[str, int, int, int, int]]] = {}
    for run_id, *series in rows:
        by_run.setdefault(run_id, []).append((*series,))
    return {run_id: _size(series) for run_id, series in by_run.items()}


def _size(series: Sequence[tuple[str, int, int, int, int]]) -> HistorySize:
    keys, points, places, lowest, highest = zip(*series, strict=True)
    return HistorySize(
        points=sum(points),
        rows=max(places),
        keys=keys,
        repeated=sum(points) - sum(places),
        lowest_step=min(lowest),
        highest_step=max(highest),
    )
