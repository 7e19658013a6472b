"""Which points it is that differ: two histories read once more, with an eye on a few keys."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import aclosing
from typing import Any

import numpy as np

from engine.records import HistoryChunk, HistoryRows, Json
from engine.verify.digests import Ints
from engine.verify.histories import STEP, STEPS_NAMED
from engine.verify.values import canonical, metric, shown

KEYS = 3
"""Keys of a run of which points are named."""

MOST_POINTS = 200_000
"""Points of one key that may be held to find them."""


async def points_of(
    chunks: AsyncGenerator[HistoryChunk], keys: Collection[str], step_column: str | None
) -> dict[str, Counter[tuple[str, str]]]:
    """The points of a few keys, as texts of step and value; keys with too many of them are left out."""
    found: dict[str, Counter[tuple[str, str]]] = {key: Counter() for key in keys}
    async with aclosing(chunks):
        async for chunk in chunks:
            for key, step, value in _points(chunk, found, step_column):
                found[key][canonical(step), shown(metric(value))] += 1
            for key in [key for key in found if len(found[key]) > MOST_POINTS]:
                del found[key]
    return found


def _points(
    chunk: HistoryChunk, keys: Collection[str], step_column: str | None
) -> Iterator[tuple[str, Json, Json]]:
    if isinstance(chunk, HistoryRows):
        for row in chunk.rows:
            step = row.get(step_column, row.get(STEP)) if step_column else row.get(STEP)
            yield from ((key, step, row[key]) for key in keys if row.get(key) is not None)
        return
    column: Any = chunk.batch.column("key")
    names = column.dictionary.to_pylist()
    wanted = np.array([name in keys for name in names], dtype=bool)
    if not wanted.any():
        return
    codes: Ints = column.indices.to_numpy()
    (places,) = np.nonzero(wanted[codes])
    for place in places.tolist():
        yield (
            names[codes[place]],
            chunk.batch.column("step")[place].as_py(),
            chunk.batch.column("value")[place].as_py(),
        )


def told_points(expected: Counter[tuple[str, str]], found: Counter[tuple[str, str]]) -> str:
    """The first points that are not the same, in words."""
    lost, new = (expected - found), (found - expected)
    words = []
    for step in sorted({step for step, _ in (*lost, *new)}, key=_by_number)[:STEPS_NAMED]:
        was = ", ".join(value for at, value in lost.elements() if at == step) or "nothing"
        now = ", ".join(value for at, value in new.elements() if at == step) or "nothing"
        words.append(f"step {step}: {was} expected, {now} found")
    more = len({step for step, _ in (*lost, *new)}) - len(words)
    return "; ".join(words) + (f"; and {more:,} more steps" if more > 0 else "")


def _by_number(step: str) -> tuple[float, str]:
    try:
        return float(step), step
    except ValueError:
        return math.inf, step
