"""How long histories are: counted when they were archived, so that none is read whole to be planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.archive.rows import INTERNAL, RESERVED
from engine.records import HistorySize, Json


def size_of_rows(path: Path, part: Mapping[str, Json]) -> HistorySize:
    """Of a history in wide form; to be called in a thread."""
    keys = tuple(name for name in pq.read_schema(path).names if name not in RESERVED | INTERNAL)
    return HistorySize(points=part["points"], rows=part["rows"], keys=keys)


def size_of_points(path: Path, part: Mapping[str, Json]) -> HistorySize:
    """Of a history in long form, of which keys and steps are looked at; to be called in a thread."""
    counts: Counter[str] = Counter()
    steps: list[int] = []
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["key", "step"]):
            if not batch.num_rows:
                continue
            for found in pc.value_counts(batch.column("key").cast("string")).to_pylist():
                counts[found["values"]] += found["counts"]
            range_ = pc.min_max(batch.column("step")).as_py()
            steps += [range_["min"], range_["max"]]
    return HistorySize(
        points=part["points"],
        rows=max(counts.values(), default=0),
        keys=tuple(sorted(counts)),
        lowest_step=min(steps, default=None),
        highest_step=max(steps, default=None),
    )
