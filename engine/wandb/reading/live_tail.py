"""Exported rows and rows that are not exported yet, where their steps overlap.

As a rule what is live begins behind what was exported. It does not if several processes wrote to one run,
or if a server still gives as live what it has exported by now. Rows of one step stay apart, as they do for
all readers of W&B; one that comes from both sides comes once.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import TypeVar

import pyarrow as pa

from engine.records import HistoryRows, Json
from engine.wandb.reading.parquet import Overlap, as_logged
from engine.wandb.reading.rows import Columns, Part, Row, last_step, step_of

P = TypeVar("P", bound=Part)


def split(part: P, step: int | None) -> tuple[P | list[Row], list[Row]]:
    """What of a part lies before a step, and the rest as rows; all lies before None."""
    last = last_step(part)
    if step is None or (last is not None and last < step):
        return part, []
    rows = list(_rows_in(part))
    place = next((n for n, row in enumerate(rows) if _reaches(row, step)), len(rows))
    return rows[:place], rows[place:]


def _rows_in(part: Part) -> Iterable[Row]:
    assert not isinstance(part, Columns), "exports give none, and live rows were asked for as rows"
    return as_logged(part) if isinstance(part, pa.RecordBatch) else part


def _reaches(row: Row, step: int) -> bool:
    own = step_of(row)
    return own is not None and own >= step


async def interleaved(
    exported: AsyncIterator[Part], live: AsyncIterator[Part], overlap: Overlap
) -> AsyncGenerator[list[Row]]:
    """The rows of both by step, in lists of bounded length.

    Args:
        overlap: counts exported rows that came as live ones, too.
    """
    one, other = _Rows(exported), _Rows(live)
    out: list[Row] = []
    while True:
        steps = [step for step in (await one.step(), await other.step()) if step is not None]
        if not steps:
            break
        old, new = await one.take(min(steps)), await other.take(min(steps))
        for row in new:
            for number, known in enumerate(old):
                if _is_part(known, row):
                    overlap.rows += 1
                    del old[number]
                    break
        out += old + new
        if len(out) >= HistoryRows.CHUNK_ROWS:
            yield out
            out = []
    if out:
        yield out


def _is_part(row: Row, other: Row) -> bool:
    """Whether a row says nothing that another one does not say."""
    return all(key in other and _same(value, other[key]) for key, value in row.items())


def _same(value: Json, other: Json) -> bool:
    # NaN is not itself; a column of numbers has floats where a line has integers.
    return bool(value == other) or json.dumps(value, sort_keys=True) == json.dumps(other, sort_keys=True)


class _Rows:
    """Rows of a stream, one step after the other."""

    def __init__(self, parts: AsyncIterator[Part]) -> None:
        self._parts = parts
        self._waiting: deque[Row] = deque()

    async def step(self) -> int | None:
        """Of the next row, -1 if it has none; None at the end."""
        if not await self._fill():
            return None
        step = step_of(self._waiting[0])
        return -1 if step is None else step

    async def take(self, step: int) -> list[Row]:
        """The next rows if they are of this step, with those behind them that have none."""
        taken: list[Row] = []
        if await self.step() != step:
            return taken
        while await self._fill() and step_of(self._waiting[0]) in (step, None):
            taken.append(self._waiting.popleft())
        return taken

    async def _fill(self) -> bool:
        while not self._waiting:
            part = await anext(self._parts, None)
            if part is None:
                return False
            self._waiting.extend(_rows_in(part))
        return True


async def after(rows: Sequence[Row], parts: AsyncIterator[Part]) -> AsyncGenerator[Part]:
    """Some rows, then the parts."""
    yield rows
    async for part in parts:
        yield part
