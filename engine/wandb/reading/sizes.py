"""How long histories are, as far as the list of runs tells: rows are counted there, values are not."""

from __future__ import annotations

from engine.records import HistorySize, Run
from engine.wandb.reading.history import MOST_SAMPLES, PAGE_BYTES
from engine.wandb.reading.runs import counts_of


def size_of(run: Run) -> HistorySize:
    """The size of a history, as if every row had every metric that the summary has."""
    counts = counts_of(run)
    rows = counts.rows or 0
    keys = tuple(key for key in run.summary or () if not key.startswith("_"))
    return HistorySize(
        points=rows * len(keys),
        exact=rows == 0,
        rows=rows,
        keys=keys,
        requests=max(1.0, rows / MOST_SAMPLES, rows * counts.row_bytes / PAGE_BYTES) if rows else 0.0,
    )
