"""Metric points as Arrow, in the exact form that ``engine.records.MetricPoints`` asks for."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa

from engine.records import MetricPoints

if TYPE_CHECKING:
    from engine.transfer.context import Context

Column: TypeAlias = "pa.Array[Any]"

SCHEMA = pa.schema(
    [
        pa.field("key", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("timestamp", pa.int64(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)


def metric_points(key: Column, step: Column, timestamp: Column, value: Column) -> MetricPoints:
    """One chunk from four columns of equal length; ``key`` may be plain or dictionary-encoded strings.

    Raises:
        ValueError: a column has nulls or another type, or a key is no UTF-8.
    """
    if not isinstance(key, pa.DictionaryArray):
        key = key.cast(pa.string()).dictionary_encode()
        assert isinstance(key, pa.DictionaryArray)
    # SQLite keeps any bytes as text.
    key.dictionary.validate(full=True)
    columns = [key, step, timestamp, value]
    for column, wanted in zip(columns, SCHEMA, strict=True):
        if column.null_count or column.type != wanted.type:
            raise ValueError(
                f"metric column {wanted.name} has type {column.type} and {column.null_count} nulls"
            )
    return MetricPoints(batch=pa.RecordBatch.from_arrays(columns, schema=SCHEMA))


def chunks_of_one_metric(
    key: str, steps: Sequence[int], timestamps: Sequence[int], values: Sequence[float]
) -> Iterator[MetricPoints]:
    """The chunks of one metric's history that is already in memory."""
    for start in range(0, len(steps), MetricPoints.CHUNK_POINTS):
        part = slice(start, start + MetricPoints.CHUNK_POINTS)
        count = len(steps[part])
        yield metric_points(
            pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), pa.array([key], pa.string())),
            pa.array(steps[part], pa.int64()),
            pa.array(timestamps[part], pa.int64()),
            pa.array(values[part], pa.float64()),
        )


def restored(value: float) -> float:
    """±1.797e308 is how MLflow's SQL stores keep an infinity."""
    return math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value


def restore_infinities(value: Column, run_id: str, context: Context) -> Column:
    """Turn ±1.797e308 back into ±inf, which is how MLflow's SQL stores keep infinities.

    Nothing tells a genuine ±DBL_MAX from a stored infinity, so that the change is declared.
    """
    values = value.to_numpy(zero_copy_only=False)
    clipped = np.abs(values) == sys.float_info.max
    count = int(np.count_nonzero(clipped))
    if not count:
        return value
    context.lose(
        "inf_from_dbl_max",
        f"run {run_id}",
        "MLflow's SQL stores keep infinities as ±1.797e308; read as infinities again",
        count,
    )
    return pa.array(np.where(clipped, np.copysign(np.inf, values), values))
