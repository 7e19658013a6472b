"""The points of one run, sorted by step and time within a bounded amount of memory.

A run may have 10^7 points in any order. They are kept in columns; whenever the buffer is full it is
sorted and written to the spool as one sorted piece. Reading merges the pieces a window at a time, so
that neither the buffer nor a window grows with the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from engine.wandb.uploads.spool import spooling

if TYPE_CHECKING:
    import pyarrow as pa

BUFFER_POINTS = 512 * 1024
"""Points of one run in memory, 24 bytes each, and half as much again while they are sorted."""

WINDOW_POINTS = 128 * 1024

_LAYOUT = np.dtype([("step", "<i8"), ("timestamp", "<i8"), ("value", "<f8"), ("key", "<i4")])

POINT_BYTES = _LAYOUT.itemsize
"""Of a point in the spool."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Points:
    """Columns of equal length; ``key`` indexes ``PointStore.keys``, ``timestamp`` is in ms."""

    step: Ints
    timestamp: Ints
    value: Floats
    key: Codes

    def __len__(self) -> int:
        return len(self.step)

    def __getitem__(self, index: slice | npt.NDArray[np.intp]) -> Points:
        return Points(self.step[index], self.timestamp[index], self.value[index], self.key[index])

    @classmethod
    def joined(cls, parts: Sequence[Points]) -> Points:
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.step for part in parts]),
            np.concatenate([part.timestamp for part in parts]),
            np.concatenate([part.value for part in parts]),
            np.concatenate([part.key for part in parts]),
        )

    def in_order(self) -> Points:
        """Sorted by step, then time, then as they came."""
        return self[np.lexsort((self.timestamp, self.step))]

    def before(self, step: int, timestamp: int, *, inclusive: bool) -> int:
        """How many of these sorted points lie before the given place."""
        low = int(np.searchsorted(self.step, step, "left"))
        high = int(np.searchsorted(self.step, step, "right"))
        side: Any = "right" if inclusive else "left"
        return low + int(np.searchsorted(self.timestamp[low:high], timestamp, side))


NO_POINTS = Points(*(np.empty(0, dtype=_LAYOUT[name]) for name in ("step", "timestamp", "value", "key")))


class PointStore:
    """Takes points in any order, gives them back by step, time and order of arrival.

    Args:
        spool: directory for the pieces that do not fit in memory.
        buffer: points that do.
    """

    def __init__(self, spool: Path, *, buffer: int = BUFFER_POINTS) -> None:
        self.keys: list[str] = []
        self.count = 0
        self.first_timestamp = 0
        self._spool = spool
        self._buffer = buffer
        self._codes: dict[str, int] = {}
        self._recent: list[Points] = []
        self._recent_count = 0
        self._pieces: list[Path] = []
        self.lowest_step = 0
        self.highest_step = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for piece in self._pieces:
            piece.unlink(missing_ok=True)
        self._pieces.clear()
        self._recent.clear()

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the points of a ``MetricPoints`` batch; see ``is_full``."""
        if not len(batch):
            return
        keys: Any = batch.column("key")
        codes = np.array([self._code(key) for key in keys.dictionary.to_pylist()], dtype=np.int32)
        points = Points(
            batch.column("step").to_numpy(),
            batch.column("timestamp").to_numpy(),
            batch.column("value").to_numpy(),
            codes[keys.indices.to_numpy()],
        )
        lowest, highest = int(points.step.min()), int(points.step.max())
        first = int(points.timestamp.min())
        if self.count:
            lowest, highest = min(lowest, self.lowest_step), max(highest, self.highest_step)
            first = min(first, self.first_timestamp)
        self.lowest_step, self.highest_step, self.first_timestamp = lowest, highest, first
        self.count += len(points)
        self._recent.append(points)
        self._recent_count += len(points)

    def _code(self, key: str) -> int:
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = len(self.keys)
            self.keys.append(key)
        return code

    @property
    def is_full(self) -> bool:
        """Whether ``spill`` is due before more points are added."""
        return self._recent_count >= self._buffer

    def spill(self) -> None:
        """Move the points in memory to the spool; blocking.

        Raises:
            EngineError: the spool is full.
        """
        points = self._take_recent()
        # Until they are on the disk they stay here, so that a full disk loses nothing.
        self._recent, self._recent_count = [points], len(points)
        path = self._spool / f"points-{uuid4().hex}"
        with spooling(self._spool):
            try:
                with path.open("wb") as file:
                    for column in (points.step, points.timestamp, points.value, points.key):
                        np.ascontiguousarray(column).tofile(file)
            except OSError:
                path.unlink(missing_ok=True)
                raise
        self._pieces.append(path)
        self._recent, self._recent_count = [], 0

    def _take_recent(self) -> Points:
        points = Points.joined(self._recent).in_order()
        self._recent, self._recent_count = [], 0
        return points

    def windows(self, size: int = WINDOW_POINTS) -> Iterator[Points]:
        """All points in order, at most about ``size`` at a time; can be asked for more than once."""
        pieces = [_Piece(path=path) for path in self._pieces]
        if self._recent:
            self._recent = [self._take_recent()]
            self._recent_count = len(self._recent[0])
            pieces.append(_Piece(block=self._recent[0]))
        if self._pieces:
            yield from _merged(pieces, size)
            return
        for piece in pieces:
            for start in range(0, len(piece.block), size):
                yield piece.block[start : start + size]


class _Piece:
    """Sorted points, of which a block is in memory and the rest in a file.

    Plain reads rather than a memory map, so that no page of the file counts as our memory.
    """

    def __init__(self, *, path: Path | None = None, block: Points = NO_POINTS) -> None:
        self.block = block
        self._path = path
        self._count = path.stat().st_size // _LAYOUT.itemsize if path else 0
        self._read = 0

    @property
    def is_whole(self) -> bool:
        """Whether the block is all that is left."""
        return self._read == self._count

    def load(self, more_than: int) -> None:
        """Make the block longer than ``more_than``, or all that is left."""
        if self.is_whole or len(self.block) > more_than:
            return
        wanted = min(more_than + 1, self._count - self._read)
        columns, column_at = [], 0
        for name in ("step", "timestamp", "value", "key"):
            kind = _LAYOUT[name]
            offset = column_at + self._read * kind.itemsize
            columns.append(np.fromfile(self._path, dtype=kind, count=wanted, offset=offset))  # type: ignore[arg-type]
            column_at += self._count * kind.itemsize
        self._read += wanted
        self.block = Points.joined([self.block, Points(*columns)])

    def take(self, count: int) -> Points:
        taken, self.block = self.block[:count], self.block[count:]
        return taken


def _merged(pieces: list[_Piece], size: int) -> Iterator[Points]:
    while pieces:
        share = max(1, size // len(pieces))
        for piece in pieces:
            piece.load(share)
        # Whatever lies before the earliest of the pieces' next cuts is at most `share` points of each.
        cuts = [
            (int(piece.block.step[share]), int(piece.block.timestamp[share]))
            for piece in pieces
            if len(piece.block) > share
        ]
        if not cuts:
            yield Points.joined([piece.block for piece in pieces]).in_order()
            return
        cut = min(cuts)
        counts = [piece.block.before(*cut, inclusive=False) for piece in pieces]
        if any(counts):
            heads = [piece.take(count) for piece, count in zip(pieces, counts, strict=True)]
            yield Points.joined(heads).in_order()
        else:
            # A single moment fills the window: the pieces follow one another as they came.
            for piece in pieces:
                yield from _moment(piece, cut, share)
        pieces = [piece for piece in pieces if len(piece.block) or not piece.is_whole]


def _moment(piece: _Piece, moment: tuple[int, int], share: int) -> Iterator[Points]:
    while count := piece.block.before(*moment, inclusive=True):
        whole = count == len(piece.block)
        yield piece.take(count)
        if not whole:
            return
        piece.load(share)
