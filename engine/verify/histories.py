"""Histories: what one holds, and how two of them differ, in memory that does not grow with their length.

Points (``MetricPoints``) and rows (``HistoryRows``) are brought to the same terms: key, step, value, and the
latest time of each step. A row that was numbered anew names its own step in a column of its own.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import anyio.to_thread
import numpy as np

from engine.records import HistoryChunk, HistoryRows, Json, MetricPoints
from engine.rows import by_key
from engine.verify.digests import Floats, Ints, KeyDigest, PointDigests, StepTimes, combined
from engine.verify.values import canonical

STEP: Final = "_step"
TIME: Final = "_timestamp"
RUNTIME: Final = "_runtime"
INTERNAL: Final = frozenset({STEP, TIME, RUNTIME, "_wandb"})
"""What a row says of itself (``engine.records.HistoryRows``)."""

INLINE_CELLS = 2_048
"""Chunks up to this size are digested in the event loop, larger ones in a thread."""

STEPS_NAMED = 3

_INT64 = 2**63
_EXACT = 2**53
"""Up to here floats have every integer."""
_MAX_SECONDS = 2**42
"""Milliseconds of greater times are not exact."""


@dataclass(slots=True)
class Rows:
    """What only rows have.

    Attributes:
        empty: rows without a value.
        renumbered: rows that name their own step.
        disordered: rows whose number is not greater than that of the row before.
        starts: least and greatest start of the run by ``_timestamp - _runtime``, ms.
        latest_before_start: of rows with a ``_runtime`` of 0, the latest time, ms.
    """

    count: int = 0
    empty: int = 0
    renumbered: int = 0
    disordered: int = 0
    last: Json = None
    starts: tuple[int, int] | None = None
    latest_before_start: int | None = None


@dataclass(slots=True)
class Columns:
    """Rows that have the same keys, and numbers for all of them: what most are.

    Attributes:
        values: of each key that is not what a row says of itself.
        times: ms.
        runtimes: seconds.
    """

    steps: Ints
    values: Mapping[str, Floats]
    times: Ints | None
    runtimes: Floats | None

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Json]], step_column: str | None) -> Columns | None:
        """None if they are not of that kind."""
        columns = by_key(rows)
        if columns is None or step_column in columns or set(map(type, columns.get(STEP, ()))) != {int}:
            return None
        arrays = {key: _numbers(column) for key, column in columns.items() if key != "_wandb"}
        values = {key: array for key, array in arrays.items() if array is not None and key not in INTERNAL}
        steps, times, runtimes = (arrays.get(key) for key in (STEP, TIME, RUNTIME))
        if steps is None or not values or any(array is None for array in arrays.values()):
            return None
        if any(one is not None and not (np.abs(one) <= _MAX_SECONDS).all() for one in (times, runtimes)):
            return None
        return cls(steps.astype(np.int64), values, None if times is None else _milliseconds(times), runtimes)


def _milliseconds(seconds: Floats) -> Ints:
    return np.rint(seconds * 1000).astype(np.int64)


def _numbers(values: Sequence[Json]) -> Floats | None:
    """The values as floats, None if that is not what they are, exactly."""
    kinds = set(map(type, values))
    if kinds == {float}:
        return np.array(values, np.float64)
    if kinds != {int} or max(map(abs, values)) > _EXACT:
        return None
    return np.array(values, np.float64)


@dataclass(slots=True)
class History:
    """Takes the chunks of one history.

    Args:
        step_column: where a row that was numbered anew keeps its step.
    """

    step_column: str | None = None
    points: PointDigests = field(default_factory=PointDigests)
    times: StepTimes = field(default_factory=StepTimes)
    rows: Rows | None = None
    first_time: int | None = None

    async def take(self, chunks: AsyncGenerator[HistoryChunk]) -> None:
        """All of a history; large chunks in threads."""
        async with aclosing(chunks):
            async for chunk in chunks:
                if _cells(chunk) <= INLINE_CELLS:
                    self.add(chunk)
                else:
                    await anyio.to_thread.run_sync(self.add, chunk)

    def add(self, chunk: HistoryChunk) -> None:
        match chunk:
            case MetricPoints():
                self._add_points(chunk)
            case HistoryRows():
                self._add_rows(chunk.rows)

    def _add_points(self, chunk: MetricPoints) -> None:
        batch = chunk.batch
        if not len(batch):
            return
        keys: Any = batch.column("key")
        codes = np.array([self.points.code(key) for key in keys.dictionary.to_pylist()], np.int32)
        steps, times = batch.column("step").to_numpy(), batch.column("timestamp").to_numpy()
        values = batch.column("value").to_numpy()
        self.points.add(codes[keys.indices.to_numpy()], steps, values)
        self.times.add(steps, times)
        first = int(times.min())
        self.first_time = first if self.first_time is None else min(self.first_time, first)

    def _add_rows(self, rows: Sequence[Mapping[str, Json]]) -> None:
        told = self.rows = self.rows or Rows()
        columns = Columns.of(rows, self.step_column)
        if columns is None:
            self._add_each(rows, told)
        else:
            self._add_columns(columns, told)

    def _add_columns(self, columns: Columns, told: Rows) -> None:
        steps = columns.steps
        first = int(steps[0])
        told.disordered += int(np.count_nonzero(np.diff(steps) <= 0))
        told.disordered += bool(told.count) and not (_is_number(told.last) and first > told.last)
        told.count += len(steps)
        told.last = int(steps[-1])
        for key, values in columns.values.items():
            self.points.add_key(key, steps, values)
        if columns.times is not None:
            self.times.add(steps, columns.times)
            _tell_starts(told, columns.times, columns.runtimes)

    def _add_each(self, rows: Sequence[Mapping[str, Json]], told: Rows) -> None:
        codes: list[int] = []
        steps: list[int] = []
        values: list[float] = []
        row_steps: list[int] = []
        row_times: list[int] = []
        code, points = self.points.code, self.points
        for row in rows:
            step = self._step(row, told)
            plain = type(step) is int and -_INT64 <= step < _INT64
            if plain and (time := _ms(row.get(TIME))) is not None:
                row_steps.append(step)
                row_times.append(time)
                _tell_start(told, time, row.get(RUNTIME))
            before = told.empty
            told.empty += 1
            for key, value in row.items():
                if value is None or key in INTERNAL or key == self.step_column:
                    continue
                told.empty = before
                kind = type(value)
                if plain and (kind is float or (kind is int and -(2**53) <= value <= 2**53)):
                    codes.append(code(key))
                    steps.append(step)
                    values.append(value)
                else:
                    points.add_other(code(key), step, value)
        points.add(np.array(codes, np.int32), np.array(steps, np.int64), np.array(values, np.float64))
        self.times.add(np.array(row_steps, np.int64), np.array(row_times, np.int64))

    def _step(self, row: Mapping[str, Json], told: Rows) -> Json:
        number = row.get(STEP)
        if told.count and not (_is_number(number) and _is_number(told.last) and number > told.last):
            told.disordered += 1
        told.count += 1
        told.last = number
        if self.step_column is not None and self.step_column in row:
            told.renumbered += 1
            number = row[self.step_column]
        return int(number) if type(number) is float and number.is_integer() else number

    def leaves(self) -> Iterator[str]:
        """By which it goes into the Merkle tree of its run."""
        yield from combined(self.points.by_key())
        if self.rows is not None:
            yield canonical(["rows", self.rows.count])
        yield canonical(["times", self.times.digest()])


def differences(
    expected: History, found: History, columns: Mapping[str, str], started_at: int | None
) -> Iterator[tuple[str, str | None, str]]:
    """What is not the same, as (kind, key at the destination or None, detail); keys first.

    Args:
        columns: what became of the expected keys.
        started_at: of the run, ms, None to count from its first point.
    """
    wanted = {columns.get(key, key): digest for key, digest in expected.points.by_key().items()}
    there = found.points.by_key()
    for key in sorted(wanted.keys() | there.keys()):
        if (detail := _of_key(wanted.get(key), there.get(key))) is not None:
            kind = "missing" if key not in there else "extra" if key not in wanted else "changed"
            yield kind, key, detail
    if found.rows is not None:
        for kind, detail in _of_rows(expected, found.rows, started_at):
            yield kind, None, detail
    if expected.times.digest() != found.times.digest():
        yield "changed", None, f"times of rows: {_of_times(expected.times, found.times)}"


def differing_keys(expected: History, found: History, columns: Mapping[str, str]) -> list[str]:
    """Expected keys that both have, with different points."""
    there = found.points.by_key()
    return [
        key
        for key, digest in expected.points.by_key().items()
        if there.get(columns.get(key, key), digest) != digest
    ]


def _of_key(expected: KeyDigest | None, found: KeyDigest | None) -> str | None:
    if expected == found:
        return None
    if found is None:
        assert expected is not None
        return f"all of its {expected.points:,} points are missing"
    if expected is None:
        return f"{found.points:,} points that the source does not have"
    if expected.points != found.points:
        return f"{expected.points:,} points expected, {found.points:,} found"
    return f"a step or value of its {expected.points:,} points is another"


def _of_rows(expected: History, rows: Rows, started_at: int | None) -> Iterator[tuple[str, str]]:
    # Rows of a source are kept one by one; of points, a row that was not split is a step.
    count = expected.rows.count if expected.rows is not None else None
    if expected.rows is None and not rows.renumbered and expected.times.is_exact:
        count = expected.times.count
    if count is not None and rows.count != count:
        yield "changed", f"{count:,} rows expected, {rows.count:,} found"
    if rows.empty > (expected.rows.empty if expected.rows is not None else 0):
        yield "extra", f"{rows.empty:,} rows without a value"
    if rows.disordered:
        yield "changed", f"{rows.disordered:,} rows whose number does not increase"
    start = started_at if started_at is not None else expected.first_time
    if expected.rows is None and start is not None and not _runs_from(rows, start):
        yield "changed", f"{RUNTIME} of a row is not its time since {start}"


def _runs_from(rows: Rows, start: int) -> bool:
    return (rows.starts is None or all(abs(told - start) <= 1 for told in rows.starts)) and (
        rows.latest_before_start is None or rows.latest_before_start <= start + 1
    )


def _of_times(expected: StepTimes, found: StepTimes) -> str:
    if not (expected.is_exact and found.is_exact):
        return "that of a step is another"
    differing = expected.differing(found, STEPS_NAMED)
    return ", ".join(f"step {step}: {was} expected, {now} found" for step, was, now in differing)


def _tell_start(rows: Rows, time: int, runtime: Json) -> None:
    if not isinstance(runtime, (int, float)) or not math.isfinite(runtime):
        return
    if runtime == 0:
        latest = rows.latest_before_start
        rows.latest_before_start = time if latest is None else max(latest, time)
        return
    start = time - round(runtime * 1000)
    least, greatest = rows.starts or (start, start)
    rows.starts = min(least, start), max(greatest, start)


def _tell_starts(rows: Rows, times: Ints, runtimes: Floats | None) -> None:
    """As ``_tell_start`` of each."""
    if runtimes is None:
        return
    begun = runtimes == 0
    if begun.any():
        _tell_start(rows, int(times[begun].max()), 0)
    if not begun.all():
        starts = times[~begun] - _milliseconds(runtimes[~begun])
        for start in (int(starts.min()), int(starts.max())):
            least, greatest = rows.starts or (start, start)
            rows.starts = min(least, start), max(greatest, start)


def _is_number(value: Json) -> bool:
    return type(value) in (int, float)


def _ms(seconds: Json) -> int | None:
    return round(seconds * 1000) if _is_number(seconds) and math.isfinite(seconds) else None


def _cells(chunk: HistoryChunk) -> int:
    if isinstance(chunk, MetricPoints):
        return len(chunk.batch)
    return len(chunk.rows) * max(len(chunk.rows[0]), 1) if chunk.rows else 0
