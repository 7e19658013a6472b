"""How fast metric histories are read straight from MLflow's databases, next to MLflow's own client.

    python benchmarks/read_mlflow_sql.py [--runs 200] [--keys 20] [--steps 500] [--postgresql]

The store is made by MLflow's client, its points by SQL, step by step as a training loop writes them.
The client is given a tenth of the runs. CPU is that of this process: PostgreSQL's own is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import adbc_driver_sqlite.dbapi
from mlflow import MlflowClient

from benchmarks.stores import Size, store_of
from engine.mlflow.source import MlflowSource
from engine.protocols import SystemOptions, Unreadable
from engine.records import MetricPoints, Run, Selection
from engine.transfer.context import Context


def report(name: str, read: Callable[[], int]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    count = read()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"{name:<44} {count:>10,} points {count / wall:>12,.0f} /s {count / cpu:>12,.0f} /s of CPU",
        flush=True,
    )


def through_the_engine(uri: str) -> int:
    async def read() -> int:
        source = MlflowSource(uri, SystemOptions())
        count = 0
        async with source.open(Context(spool=Path("unused"))):
            for run in await runs_of(source):
                async for chunk in source.history(run):
                    assert isinstance(chunk, MetricPoints)
                    count += chunk.batch.num_rows
        return count

    return asyncio.run(read())


async def runs_of(source: MlflowSource) -> list[Run]:
    found = [run async for p in source.projects(Selection()) async for run in source.runs(p, Selection())]
    return [run for run in found if not isinstance(run, Unreadable)]


def through_mlflow(uri: str, runs: int) -> int:
    client = MlflowClient(uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return sum(
        len(client.get_metric_history(run.info.run_id, key))
        for run in client.search_runs(ids, max_results=runs)
        for key in run.data.metrics
    )


def in_order_of_key_and_step(path: Path) -> int:
    """What the engine does not do: the same driver, each run sorted by the database."""
    query = "SELECT key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = ? ORDER BY key, step"
    count = 0
    with adbc_driver_sqlite.dbapi.connect(f"file:{path}?mode=ro", autocommit=True) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT run_uuid FROM runs")
            ids = [run_id for (run_id,) in cursor.fetchall()]
        for run_id in ids:
            with connection.cursor(adbc_stmt_kwargs={"adbc.sqlite.query.batch_rows": "16384"}) as cursor:
                cursor.execute(query, [run_id])
                count += cursor.fetch_arrow_table().num_rows
    return count


@contextmanager
def copied_to_postgresql(uri: str) -> Iterator[str]:
    # Only the tests bring a PostgreSQL.
    from tests import stores
    from tests.postgresql import running_postgresql

    with (
        tempfile.TemporaryDirectory(prefix="postgresql-") as place,
        running_postgresql(Path(place)) as server,
    ):
        target = server.replace("postgresql:", "postgresql+psycopg:")
        yield stores.copied_to_postgresql(stores.Store(uri, Path(place)), target).uri


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("runs", "keys", "steps"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Size(), name))
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "transfer-engine-benchmark"
    )
    parser.add_argument(
        "--postgresql", action="store_true", help="also copy the store to PostgreSQL and read that"
    )
    options = parser.parse_args()
    size = Size(options.runs, options.keys, options.steps)
    uri = store_of(size, options.cache).uri
    few = max(size.runs // 10, 1)

    print(f"{size}: {size.points:,} points")
    for _ in range(3):
        report("SQLite, engine", lambda: through_the_engine(uri))
    report(
        "SQLite, same driver, ORDER BY key, step",
        lambda: in_order_of_key_and_step(Path(uri.removeprefix("sqlite:///"))),
    )
    report(f"SQLite, MlflowClient ({few} runs)", lambda: through_mlflow(uri, few))
    if options.postgresql:
        with copied_to_postgresql(uri) as copy:
            for _ in range(3):
                report("PostgreSQL, engine", lambda: through_the_engine(copy))
            report(f"PostgreSQL, MlflowClient ({few} runs)", lambda: through_mlflow(copy, few))


if __name__ == "__main__":
    main()
