"""Archives one long history and tells the peak of memory: ``python -m tests.export.large DIR FORM COUNT``."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import numpy as np
import pyarrow as pa

from engine.archive import ArchiveDestination
from engine.records import HistoryChunk, HistoryRows, MetricPoints, Namespace, Run
from engine.transfer.engine import Engine
from tests.memory import MemoryRun, MemorySource
from tests.peak import peak_bytes


class Long(MemorySource):
    """A run with so many points, or rows, made as they are asked for."""

    form = "points"
    count = 0

    async def history(self, run: Run) -> AsyncGenerator[HistoryChunk]:
        size = MetricPoints.CHUNK_POINTS if self.form == "points" else HistoryRows.CHUNK_ROWS
        for first in range(0, self.count, size):
            steps = np.arange(first, min(first + size, self.count))
            if self.form == "points":
                keys = pa.DictionaryArray.from_arrays(
                    (steps % 2).astype(np.int32), pa.array(["loss", "accuracy"])
                )
                columns = [keys, pa.array(steps), pa.array(steps * 10), pa.array(np.sqrt(steps))]
                names = ["key", "step", "timestamp", "value"]
                yield MetricPoints(batch=pa.RecordBatch.from_arrays(columns, names=names))
            else:
                yield HistoryRows(
                    first=first, rows=[{"_step": step, "loss": step / 7} for step in steps.tolist()]
                )


async def archive(directory: Path, form: str, count: int) -> None:
    run = Run(id="long", namespace=Namespace("", "p"))
    source = Long({"p": [MemoryRun(run)]})
    source.form, source.count = form, count
    async with Engine(source, ArchiveDestination(str(directory))) as engine:
        result = await engine.run()
    assert not result.failure_count, result.failures
    assert result.counters.points == count


if __name__ == "__main__":
    anyio.run(archive, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    print(peak_bytes() // 2**20)
