"""Whether several values of a key on one step come in the order of their times.

Digests see which values a step has, not in which order. Where rows were numbered anew because steps have
several values, the order is all that tells them apart; so such histories are read once more, as a whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from engine.records import HistoryChunk, HistoryRows, MetricPoints
from engine.verify.digests import Floats, Ints, bits_of

MOST_POINTS = 1_000_000
"""Points of a history, 24 bytes each and on each side, that are held to look at their order."""


class Points(NamedTuple):
    """Points of one key; times are 0 where they are not known."""

    steps: Ints
    times: Ints
    values: Floats


ByKey: TypeAlias = Mapping[str, Sequence[Points]]


async def points_by_key(
    chunks: AsyncGenerator[HistoryChunk], keys: Collection[str], step_column: str = ""
) -> ByKey:
    """All points of some keys, in the order in which they come."""
    found: dict[str, list[Points]] = defaultdict(list)
    async with aclosing(chunks):
        async for chunk in chunks:
            match chunk:
                case MetricPoints():
                    for key, points in _of_points(chunk, keys):
                        found[key].append(points)
                case HistoryRows():
                    for key in keys:
                        cells = [(row[step_column], row[key]) for row in chunk.rows if key in row]
                        found[key].append(_of_cells(cells))
    return found


def _of_points(chunk: MetricPoints, keys: Collection[str]) -> list[tuple[str, Points]]:
    batch = chunk.batch
    column: Any = batch.column("key")
    codes = column.indices.to_numpy()
    arrays = [batch.column(name).to_numpy() for name in ("step", "timestamp", "value")]
    return [
        (key, Points(*(array[codes == code] for array in arrays)))
        for code, key in enumerate(column.dictionary.to_pylist())
        if key in keys
    ]


def _of_cells(cells: Sequence[tuple[int, float]]) -> Points:
    steps = np.array([step for step, _ in cells], np.int64)
    return Points(steps, np.zeros_like(steps), np.array([value for _, value in cells], np.float64))


def same_order(expected: Sequence[Points], found: Sequence[Points]) -> bool:
    """Whether the values of one key on each step follow one another as their times do.

    Args:
        expected: points with their times, in any order.
        found: the same points in the order of their rows. Values of one step and time may come in any.
    """
    steps, times, values = _joined(expected)
    order = np.lexsort((times, steps))
    steps, times, values = steps[order], times[order], values[order]
    steps_there, _, there = _joined(found)
    there = there[np.argsort(steps_there, kind="stable")]
    if len(values) != len(there):
        return False
    moments = np.zeros(len(steps), np.int64)
    moments[1:] = np.cumsum((steps[1:] != steps[:-1]) | (times[1:] != times[:-1]))
    mine, theirs = bits_of(values), bits_of(there)
    return bool(np.array_equal(mine[np.lexsort((mine, moments))], theirs[np.lexsort((theirs, moments))]))


def _joined(points: Sequence[Points]) -> Points:
    if not points:
        return Points(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))
    steps, times, values = zip(*points, strict=True)
    return Points(np.concatenate(steps), np.concatenate(times), np.concatenate(values))
