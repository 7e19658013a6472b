"""The metric files of a run: ``metrics/<key>``, one point a line.

A line is ``timestamp value [step [dataset name, digest]]``. MLflow's own reader takes the step only from
lines of three fields; lines of five have it in the same place.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pyarrow as pa

from engine.errors import CommError, Side
from engine.mlflow.files.disk import Disk
from engine.mlflow.store import LatestMetric
from engine.records import MetricPoints

BLOCK = 1024 * 1024
"""Bytes read from a metric file at once."""

_NAMES = ["key", "step", "timestamp", "value"]


def latest_metric(path: Path) -> LatestMetric | None:
    """The newest point of a metric file; None if it is empty.

    Raises:
        CommError: a line is broken.
    """
    newest: tuple[int, int, float] | None = None
    for points in _blocks(path):
        for timestamp, value, step in points:
            candidate = (step, timestamp, value)
            # NaN is greater than nothing, as in MLflow's ``max``.
            if newest is None or candidate > newest:
                newest = candidate
    if newest is None:
        return None
    step, timestamp, value = newest
    return LatestMetric(value, timestamp, step)


def points_of(disk: Disk, metrics: Path) -> Generator[pa.RecordBatch]:
    """All points below a run's ``metrics`` directory, key by key, as columns key, step, timestamp, value.

    Raises:
        CommError: a line is broken.
    """
    keys: list[str] = []
    rows: list[tuple[int, float, int]] = []
    for key, path in disk.files(metrics):
        for points in _blocks(path):
            rows += points
            keys += [key] * len(points)
            while len(rows) >= MetricPoints.CHUNK_POINTS:
                yield _batch(keys[: MetricPoints.CHUNK_POINTS], rows[: MetricPoints.CHUNK_POINTS])
                del keys[: MetricPoints.CHUNK_POINTS], rows[: MetricPoints.CHUNK_POINTS]
    if rows:
        yield _batch(keys, rows)


def _batch(keys: list[str], rows: list[tuple[int, float, int]]) -> pa.RecordBatch:
    timestamps, values, steps = zip(*rows, strict=True)
    columns = [
        pa.array(keys, pa.string()).dictionary_encode(),
        pa.array(steps, pa.int64()),
        pa.array(timestamps, pa.int64()),
        pa.array(values, pa.float64()),
    ]
    return pa.RecordBatch.from_arrays(columns, names=_NAMES)


def _blocks(path: Path) -> Iterator[list[tuple[int, float, int]]]:
    """The points of a file as (timestamp, value, step), a block of lines at a time."""
    number = 0
    with path.open("rb") as file:
        while lines := file.readlines(BLOCK):
            points = []
            for line in lines:
                number += 1
                if (point := _point(line, path, number)) is not None:
                    points.append(point)
            yield points


def _int64(field: bytes) -> int:
    number = int(field)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{number} has more than 64 bits")
    return number


def _point(line: bytes, path: Path, number: int) -> tuple[int, float, int] | None:
    fields = line.split()
    try:
        match len(fields):
            case 3:
                return _int64(fields[0]), float(fields[1]), _int64(fields[2])
            case 2:
                return _int64(fields[0]), float(fields[1]), 0
            case 0:
                return None
            case 1 | 4:
                raise ValueError("it has neither 2 nor 3 nor 5 fields")
            case _:
                return _int64(fields[0]), float(fields[1]), _int64(fields[2])
    except ValueError as error:
        raise CommError(
            f"a line is no metric point: {error}",
            side=Side.SOURCE,
            subject=f"{path}, line {number}",
            remedy="correct or remove that line; an unfinished last line is what a full disk leaves",
            exc=error,
        ) from error
