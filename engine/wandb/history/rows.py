"""From metric points to W&B history rows, without losing one.

A row is what one step logged: ``_step`` may only increase, ``_timestamp`` is in seconds, and a key has one
value. MLflow knows none of these rules, so a run whose points break them is written in *sequence mode*:

* plain mode: one row a step, ``_step`` is the step;
* sequence mode, if a key has several values on one step, or a step is negative or beyond 2^53: the points
  go in the order of (step, time, arrival), a new row begins with each step and with each key that the
  row holds already, ``_step`` counts the rows, and the step itself is the column ``<system>/step``.

``_timestamp`` of a row is that of its latest point.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import orjson

from engine.records import Json
from engine.wandb.history.points import WINDOW_POINTS, Codes, Floats, Ints, Points, PointStore
from engine.wandb.names import escaped_keys

INTERNAL_KEYS = frozenset({"_step", "_runtime", "_timestamp", "_wandb"})
MAX_STEP = 2**53 - 1
"""Beyond it a JSON number is not exact for all readers."""

LINE_LIMIT = 10 * 1024 * 1024 - 100 * 1024
"""Bytes of a history line that the server takes (``core/internal/filestream``)."""

MERGED_MS = 1000
"""Points of one row may differ by this much in time before their merging counts as a loss."""

_BYTES_PER_VALUE = 32


def encode_row(row: Mapping[str, Json]) -> str:
    """One history or summary line; non-finite numbers are bare ``NaN`` and ``Infinity`` tokens."""
    try:
        line = orjson.dumps(row)
    except TypeError:  # an integer of more than 64 bits, or a lone surrogate
        return json.dumps(row, separators=(",", ":"))
    # orjson writes null for what is not finite; only a line with a null can hold such a value.
    if b"null" in line:
        return json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    return line.decode()


@dataclass(slots=True)
class Lines:
    """Encoded rows, and how many points each of them carries."""

    lines: list[str]
    points: list[int]


@dataclass(slots=True, kw_only=True)
class Layout:
    """How the rows of one run are laid out.

    Attributes:
        names: column name of each key code.
        renamed: keys that W&B would take for its own, and what they are called instead.
        step_column: None in plain mode, the column of the original step in sequence mode.
        reasons: why it is sequence mode.
    """

    names: list[str]
    renamed: Mapping[str, str]
    step_column: str | None = None
    reasons: tuple[str, ...] = ()

    @property
    def widest(self) -> int:
        """Keys that surely fit in one line."""
        longest = max((len(json.dumps(name)) for name in self.names), default=0)
        return max(1, (LINE_LIMIT - 1024) // (longest + _BYTES_PER_VALUE))


def layout_of(store: PointStore, system: str, *, window: int = WINDOW_POINTS) -> Layout:
    """Decide how to lay out a run, which takes one pass over its points."""
    renamed = renamed_keys(store.keys, system)
    layout = Layout(names=[renamed.get(key, key) for key in store.keys], renamed=renamed)
    layout.reasons = sequence_reasons(
        store.lowest_step, store.highest_step, split=_has_split_steps(store, layout, window)
    )
    if layout.reasons:
        layout.step_column = f"{system}/step"
    return layout


def renamed_keys(keys: Collection[str], system: str) -> Mapping[str, str]:
    """New names for metrics whose own W&B would take for something else."""
    return escaped_keys(keys, INTERNAL_KEYS | {f"{system}/step"}, system)


def sequence_reasons(lowest_step: int, highest_step: int, *, split: bool) -> tuple[str, ...]:
    """Why a run must be written in sequence mode; nothing if it need not.

    Args:
        split: whether the points of some step do not fit into one row.
    """
    reasons = (
        (lowest_step < 0, "negative steps"),
        (highest_step > MAX_STEP, "steps beyond 2^53"),
        (split, "several values of a key on one step"),
    )
    return tuple(reason for holds, reason in reasons if holds)


def changes_of(layout: Layout, points: int) -> Iterator[tuple[str, str, int]]:
    """What a layout changes: the kind of loss, what it is, and how many values it concerns."""
    for key, name in layout.renamed.items():
        yield "key_renamed", f"metric {key!r} became {name!r}", 1
    if layout.step_column is not None:
        reasons = ", ".join(layout.reasons)
        yield (
            "steps_resequenced",
            f"{reasons}: rows are numbered, the step itself is the column {layout.step_column!r}",
            points,
        )


def _has_split_steps(store: PointStore, layout: Layout, window: int) -> bool:
    splitter = _Splitter(len(layout.names), layout.widest)
    for points in store.windows(window):
        splitter.split(points)
        if splitter.splits:
            return True
    return False


class _Splitter:
    """Cuts sorted points into rows; the last row of a window stays open and is given back with the next."""

    def __init__(self, keys: int, widest: int) -> None:
        self.splits = 0
        self._keys = max(1, keys)
        self._widest = widest
        self._open: Points | None = None

    def split(self, points: Points) -> tuple[Points, Ints]:
        """The points of all rows that are complete, and where each row begins in them."""
        if self._open is not None:
            points = Points.joined([self._open, points])
        starts = self._starts(points)
        last = int(starts[-1])
        self._open = points[last:]
        return points[:last], starts[:-1]

    def rest(self) -> tuple[Points, Ints] | None:
        if self._open is None:
            return None
        points, self._open = self._open, None
        return points, np.zeros(1, dtype=np.int64)

    def _starts(self, points: Points) -> Ints:
        count = len(points)
        new_step = np.empty(count, dtype=bool)
        new_step[0] = True
        np.not_equal(points.step[1:], points.step[:-1], out=new_step[1:])
        # Where the same key was seen before on the same step, -1 if nowhere.
        before = np.full(count, -1, dtype=np.int64)
        cell = np.cumsum(new_step) * self._keys + points.key
        order = np.argsort(cell, kind="stable")
        repeated = np.flatnonzero(cell[order[1:]] == cell[order[:-1]])
        before[order[repeated + 1]] = order[repeated]
        starts = np.flatnonzero(new_step)
        if not len(repeated) and int(np.diff(starts, append=count).max()) <= self._widest:
            return starts
        cuts, start = [], 0
        for place, (step_begins, seen) in enumerate(zip(new_step.tolist(), before.tolist(), strict=True)):
            if step_begins or seen >= start or place - start >= self._widest:
                start = place
                cuts.append(place)
        self.splits += len(cuts) - len(starts)
        return np.array(cuts, dtype=np.int64)


@dataclass(slots=True, kw_only=True)
class LastRow:
    """Where a history ended, for the summary."""

    step: int = -1
    timestamp: int = 0
    runtime: float = 0.0


@dataclass(slots=True)
class RowEncoder:
    """Turns the points of one run into history lines.

    Args:
        store: the points.
        layout: as ``layout_of`` decided it.
        started_at: of the run in ms, None to count ``_runtime`` from the first point.
    """

    store: PointStore
    layout: Layout
    started_at: int | None = None
    last: LastRow = field(default_factory=LastRow)
    merged_points: int = 0
    """Points whose own time was more than ``MERGED_MS`` before that of their row."""
    _latest: Floats = field(init=False)
    _seen: npt.NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self._latest = np.zeros(len(self.layout.names), dtype=np.float64)
        self._seen = np.zeros(len(self.layout.names), dtype=bool)

    def latest(self) -> dict[str, float]:
        """The last value of every key; call it after the lines."""
        values = zip(self.layout.names, self._latest.tolist(), self._seen.tolist(), strict=True)
        return {name: value for name, value, seen in values if seen}

    def lines(self, *, window: int = WINDOW_POINTS) -> Iterator[Lines]:
        """All rows in order, a window at a time."""
        splitter = _Splitter(len(self.layout.names), self.layout.widest)
        for points in self.store.windows(window):
            # Assigned in order, so that the last value of a key stays.
            self._latest[points.key] = points.value
            self._seen[points.key] = True
            yield self._encoded(*splitter.split(points))
        if (rest := splitter.rest()) is not None:
            yield self._encoded(*rest)

    def _encoded(self, points: Points, starts: Ints) -> Lines:
        if not len(starts):
            return Lines([], [])
        ends = np.append(starts[1:], len(points))
        steps, row_times = points.step[starts], points.timestamp[ends - 1]
        lengths = ends - starts
        self.merged_points += int((np.repeat(row_times, lengths) - points.timestamp > MERGED_MS).sum())
        started = self.store.first_timestamp if self.started_at is None else self.started_at
        runtimes = np.maximum(row_times - started, 0) / 1000
        if self.layout.step_column is None:
            numbers = steps
        else:
            numbers = np.arange(self.last.step + 1, self.last.step + 1 + len(starts))
        self.last = LastRow(step=int(numbers[-1]), timestamp=int(row_times[-1]), runtime=float(runtimes[-1]))
        return Lines(
            self._text(points.key, points.value, ends, numbers, row_times / 1000, runtimes, steps),
            lengths.tolist(),
        )

    def _text(
        self,
        keys: Codes,
        values: Floats,
        ends: Ints,
        numbers: Ints,
        times: Floats,
        runtimes: Floats,
        steps: Ints,
    ) -> list[str]:
        names = list(map(self.layout.names.__getitem__, keys.tolist()))
        cells = values.tolist()
        step_column = self.layout.step_column
        lines, start = [], 0
        for end, number, time, runtime, step in zip(
            ends.tolist(), numbers.tolist(), times.tolist(), runtimes.tolist(), steps.tolist(), strict=True
        ):
            row: dict[str, Json] = {"_step": number, "_timestamp": time, "_runtime": runtime}
            if step_column is not None:
                row[step_column] = step
            row.update(zip(names[start:end], cells[start:end], strict=True))
            lines.append(encode_row(row))
            start = end
        return lines


def step_metric_definitions(step_column: str) -> list[dict[str, Json]]:
    """``define_metric("*", step_metric=step_column)`` as it stands in the config under ``_wandb.m``.

    Source: ``MetricRecord`` in ``wandb/proto/wandb_internal.proto``; "5" is the 1-based index of the axis.
    """
    return [{"1": step_column, "6": [], "7": []}, {"2": "*", "5": 1, "6": [1], "7": []}]


@dataclass(slots=True, kw_only=True)
class RowSequence:
    """Checks and completes rows that are wide already, such as those of another W&B server.

    ``_step`` must increase: a row without a usable one gets the next number, and keeps what it had
    in the column ``step_column``.
    """

    step_column: str
    started_at: int | None = None
    last: LastRow = field(default_factory=LastRow)
    resequenced: int = 0
    latest: dict[str, Json] = field(default_factory=dict)

    def line(self, row: Mapping[str, Json]) -> tuple[str, int]:
        """The line of a row and the number of values that it carries."""
        out = dict(row)
        step = out.get("_step")
        if type(step) is not int or step <= self.last.step:
            if step is not None:
                out[self.step_column] = step
            step = out["_step"] = self.last.step + 1
            self.resequenced += 1
        time = out.get("_timestamp")
        timestamp = int(time * 1000) if isinstance(time, (int, float)) and math.isfinite(time) else 0
        if "_runtime" not in out and timestamp and self.started_at is not None:
            out["_runtime"] = max(0, timestamp - self.started_at) / 1000
        values = {key: value for key, value in out.items() if key not in INTERNAL_KEYS}
        self.latest.update(values)
        runtime = out.get("_runtime")
        self.last = LastRow(
            step=step,
            timestamp=timestamp or self.last.timestamp,
            runtime=float(runtime) if isinstance(runtime, (int, float)) else self.last.runtime,
        )
        return encode_row(out), len(values)
