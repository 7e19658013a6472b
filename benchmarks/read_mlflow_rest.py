"""How fast metric histories are read from a tracking server, next to MLflow's own client on the same server.

    python benchmarks/read_mlflow_rest.py [--runs 200] [--keys 20] [--steps 500] [--workers 2]
    python benchmarks/read_mlflow_rest.py --long 10000000

The client is given a tenth of the runs, one metric at a time, as the importer that W&B removed did.
``--long`` reads one run with one metric of so many points instead, to show that memory does not grow with it.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import anyio
from mlflow import MlflowClient

from benchmarks.processes import mlflow_process
from benchmarks.stores import BEGAN, BenchmarkStore, Size, store_of
from engine.mlflow.rest import open_rest_store
from engine.mlflow.store import RawRun, Store
from engine.protocols import SystemOptions, Unreadable
from engine.transfer.context import Context

READERS = 8
"""Histories that are asked for at the same time, as the kernel does."""


class Reading:
    def __init__(self, name: str) -> None:
        self.name = name
        self.points = 0
        self.requests = 0
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def report(self) -> None:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        requests = f"{self.requests:>6} requests" if self.requests else ""
        print(
            f"{self.name:<34} {self.points:>11,} points {self.points / wall:>9,.0f} /s"
            f" {1e6 * cpu / self.points:>6.2f} µs CPU a point  peak {peak} MiB {requests}",
            flush=True,
        )


async def through_the_engine(url: str) -> Reading:
    store = open_rest_store(url, SystemOptions())
    context = Context(spool=Path("unused"))
    async with store.open(context):
        reading = Reading("this engine")
        sending, receiving = anyio.create_memory_object_stream[RawRun](2 * READERS)

        async def reader(runs: AsyncIterator[RawRun]) -> None:
            async for run in runs:
                async for chunk in store.history(run.experiment_id, run.id, run.latest):
                    reading.points += chunk.batch.num_rows

        async with anyio.create_task_group() as tasks, sending, receiving:
            for _ in range(READERS):
                tasks.start_soon(reader, receiving.clone())
            async for run in runs_of(store):
                await sending.send(run)
            sending.close()
        reading.requests = context.counters.requests
    return reading


async def runs_of(store: Store) -> AsyncIterator[RawRun]:
    async for experiment in store.experiments(include_deleted=False):
        async for run in store.runs(experiment):
            assert not isinstance(run, Unreadable)
            yield run


def through_mlflow(url: str, runs: int) -> Reading:
    client = MlflowClient(url)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(ids, max_results=runs)
    reading = Reading("MlflowClient.get_metric_history")
    for run in found:
        for key in run.data.metrics:
            reading.points += len(client.get_metric_history(run.info.run_id, key))
    return reading


def long_store(points: int, cache: Path) -> BenchmarkStore:
    """A store with one run of one metric."""
    store = BenchmarkStore(cache / f"long-{points}")
    if store.directory.exists():
        return store
    making = BenchmarkStore(cache / f"making-long-{points}")
    shutil.rmtree(making.directory, ignore_errors=True)
    making.artifacts.mkdir(parents=True)
    client = MlflowClient(making.uri)
    run_id = client.create_run(client.create_experiment("long"), start_time=BEGAN).info.run_id
    with closing(sqlite3.connect(making.directory / "mlflow.db")) as database, database:
        for table, first in (("metrics", 0), ("latest_metrics", points - 1)):
            database.executemany(
                f"INSERT INTO {table} (run_uuid, key, step, timestamp, value, is_nan) "
                "VALUES (?, 'loss', ?, ?, ?, 0)",
                ((run_id, step, BEGAN + step, step / 7) for step in range(first, points)),
            )
    making.directory.rename(store.directory)
    return store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("runs", "keys", "steps"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Size(), name))
    parser.add_argument("--workers", type=int, default=2, help="processes of the server")
    parser.add_argument("--long", type=int, help="points of the one metric of one run")
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "transfer-engine-benchmark"
    )
    options = parser.parse_args()
    size = Size(options.runs, options.keys, options.steps)
    store = long_store(options.long, options.cache) if options.long else store_of(size, options.cache)
    log = options.cache / "mlflow-server.log"
    with mlflow_process(store.uri, store.artifacts, log, workers=options.workers) as mlflow:
        anyio.run(through_the_engine, mlflow.url, backend="asyncio").report()
        if not options.long:
            through_mlflow(mlflow.url, max(size.runs // 10, 1)).report()


if __name__ == "__main__":
    main()
