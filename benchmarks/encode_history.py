"""How fast metric points become W&B history lines, and in how much memory.

    python benchmarks/encode_history.py [--points 2000000] [--keys 20] [--order by-step] [--repeat-steps]

``--points 10000000`` shows that peak memory does not grow with the run.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from engine.records import MetricPoints
from engine.wandb.history.points import PointStore
from engine.wandb.history.rows import RowEncoder, layout_of


def batches(points: int, keys: int, *, by_step: bool, repeat_steps: bool) -> Iterator[pa.RecordBatch]:
    """Points as a source sends them: key by key, as MLflow's database has them, or step by step."""
    names = pa.array([f"train/metric_{n}" for n in range(keys)])
    steps = points // keys
    random = np.random.default_rng(0)
    for start in range(0, points, MetricPoints.CHUNK_POINTS):
        index = np.arange(start, min(start + MetricPoints.CHUNK_POINTS, points))
        key, step = (index % keys, index // keys) if by_step else (index // steps % keys, index % steps)
        yield pa.record_batch(
            {
                "key": pa.DictionaryArray.from_arrays(pa.array(key, pa.int32()), names),
                "step": pa.array(step // 2 if repeat_steps else step, pa.int64()),
                "timestamp": pa.array(1_700_000_000_000 + step * 100, pa.int64()),
                "value": pa.array(random.random(len(index))),
            }
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=2_000_000)
    parser.add_argument("--keys", type=int, default=20)
    parser.add_argument("--order", choices=["by-key", "by-step"], default="by-key")
    parser.add_argument("--repeat-steps", action="store_true", help="two values a step, for sequence mode")
    options = parser.parse_args()

    at_start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = size = 0
    began, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as spool, PointStore(Path(spool)) as store:
        for batch in batches(
            options.points,
            options.keys,
            by_step=options.order == "by-step",
            repeat_steps=options.repeat_steps,
        ):
            store.add(batch)
            if store.is_full:
                store.spill()
        collected = time.process_time() - cpu
        layout = layout_of(store, "mlflow")
        laid_out = time.process_time() - cpu - collected
        for lines in RowEncoder(store, layout, 1_700_000_000_000).lines():
            rows += len(lines.lines)
            size += sum(map(len, lines.lines))
        points = store.count
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mode = "sequence" if layout.step_column else "plain"
    print(f"{points} points -> {rows} rows ({mode} mode), {size / 1e6:.0f} MB of lines")
    print(
        f"wall {wall:.2f} s, CPU {used:.2f} s (collect {collected:.2f}, lay out {laid_out:.2f}): "
        f"{points / used:,.0f} points/s/core, {used / rows * 1e6:.1f} us/row"
    )
    print(f"peak memory {peak / 1024:.0f} MiB, of which {at_start / 1024:.0f} MiB before the first point")


if __name__ == "__main__":
    main()
