"""Histories in long form as Parquet: one line a point, in the order in which they came."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from engine.archive.tables import RUN, constant, file_facts, open_writer, shown
from engine.records import MetricPoints

FORM: Final = "points"

ROW_GROUP: Final = 4 * MetricPoints.CHUNK_POINTS
"""Points in a row group, whatever the chunks were: so the same history makes the same file."""

COLUMNS: Final = ("key", "step", "timestamp", "value")


class PointWriter:
    """Writes one history; all methods are to be called in a thread."""

    def __init__(self, path: Path, run_id: str) -> None:
        self._run = shown(run_id)
        self._schema = pa.schema(
            [
                RUN,
                pa.field("key", pa.string(), nullable=False),
                pa.field("step", pa.int64(), nullable=False),
                pa.field("timestamp", pa.int64(), nullable=False),
                pa.field("value", pa.float64(), nullable=False),
            ],
            metadata=file_facts(FORM),
        )
        self._writer = open_writer(path, self._schema, dictionaries=["_run", "key"])
        self._held: list[Any] = []
        self._count = 0
        self.count = 0

    def add(self, batch: Any) -> None:
        columns = [batch.column("key").cast(pa.string()), *(batch.column(name) for name in COLUMNS[1:])]
        self._held.append(pa.Table.from_arrays(columns, names=list(COLUMNS)))
        self._count += batch.num_rows
        self.count += batch.num_rows
        while self._count >= ROW_GROUP:
            self._flush(ROW_GROUP)

    def _flush(self, points: int) -> None:
        whole = pa.concat_tables(self._held)
        part, rest = whole.slice(0, points), whole.slice(points)
        self._held, self._count = [rest], rest.num_rows
        arrays = [constant(self._run, part.num_rows), *part.columns]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=ROW_GROUP)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._count:
            self._flush(self._count)
        self._held = []
        self._writer.close()


def read_points(path: Path) -> Iterator[MetricPoints]:
    """The points, in chunks."""
    with pq.ParquetFile(path, read_dictionary=["key"]) as file:
        for group in range(file.num_row_groups):
            for batch in file.read_row_group(group, columns=list(COLUMNS)).to_batches(
                max_chunksize=MetricPoints.CHUNK_POINTS
            ):
                yield MetricPoints(batch=pa.RecordBatch.from_arrays(batch.columns, names=list(COLUMNS)))
