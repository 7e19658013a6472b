"""How long the histories of a tracking server are, as far as the list of runs tells.

Its API has no count. It tells the last step of each metric, which is one less than the number of points
where a metric is logged on every step; a metric on every tenth step is taken for ten times as long as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.mlflow.history_requests import BULK_RUNS, PAGE_POINTS, estimate
from engine.mlflow.store import LatestMetric
from engine.records import HistorySize


def estimated_size(latest: Mapping[str, LatestMetric], *, bulk: bool) -> HistorySize:
    """The size by the newest points.

    Args:
        bulk: whether one request can tell a metric of many runs.
    """
    lengths = [estimate(point) for point in latest.values()]
    least = 1 / BULK_RUNS if bulk else 1.0
    return HistorySize(
        points=sum(lengths),
        exact=False,
        rows=max(lengths, default=0),
        keys=tuple(latest),
        highest_step=max((point.step for point in latest.values()), default=None),
        requests=sum(max(least, length / PAGE_POINTS) for length in lengths),
    )
