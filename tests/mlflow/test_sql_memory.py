"""A run of ten million points passes in bounded memory."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sqlalchemy

from tests.mlflow.test_files import write_meta, write_run
from tests.postgresql import running_postgresql
from tests.stores import Sql, Store, copied_to_postgresql, sqlite_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]

POINTS = 10_000_000
LIMIT_MIB = 96

READ = """
import asyncio, sys
from tests.mlflow.reading import opened, runs_of
from tests.peak import peak_bytes

async def main():
    async with opened(sys.argv[1]) as source:
        (run,) = await runs_of(source)
        count, before = 0, None
        async for chunk in source.history(run):
            if before is None:
                before = peak_bytes()
            count += len(chunk.batch)
        print(count, (peak_bytes() - before) // 2**20)

asyncio.run(main())
"""

# 20 keys, step by step, as a training loop logs them.
NUMBERS = {
    "sqlite": "(WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < {last}) "
    "SELECT i FROM n)",
    "postgresql": "generate_series(0, {last}) AS n(i)",
}
INSERT = """
INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
SELECT 'metric ' || (i % 20), i / 7.0, 1700000000000 + i, '{run}', i / 20, {no} FROM {numbers}"""


def filled(dialect: str, run: str) -> str:
    numbers = NUMBERS[dialect].format(last=POINTS - 1)
    return INSERT.format(run=run, numbers=numbers, no="0" if dialect == "sqlite" else "false")


def growth(uri: str) -> int:
    """MiB by which reading grows a process that has seen the first chunk."""
    done = subprocess.run([sys.executable, "-c", READ, uri], check=True, capture_output=True, text=True)
    count, grown = map(int, done.stdout.split())
    assert count == POINTS
    return grown


@pytest.fixture
def small() -> Generator[Store]:
    with TemporaryDirectory(prefix="large-") as place:
        store = sqlite_store(Path(place))
        sql = Sql(store)
        sql.run(sql.experiment("e"), "long")
        with closing(sqlite3.connect(store.database)) as database, database:
            database.execute(
                "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) "
                f"VALUES ('metric 0', 1, 1, 1, 0, '{store.runs['long']}')"
            )
        yield store


def test_from_sqlite(small: Store):
    with closing(sqlite3.connect(small.database)) as database, database:
        database.execute("PRAGMA synchronous = off")
        # The other indexes take minutes and are not read.
        database.execute("DROP INDEX index_metrics_run_uuid_key_step")
        database.execute(filled("sqlite", small.runs["long"]))
    assert growth(small.uri) < LIMIT_MIB


def test_from_postgresql(small: Store):
    with TemporaryDirectory(prefix="postgresql-") as place, running_postgresql(Path(place)) as uri:
        store = copied_to_postgresql(small, uri.replace("postgresql:", "postgresql+psycopg:"))
        engine = sqlalchemy.create_engine(store.uri)
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("DROP INDEX index_metrics_run_uuid_key_step"))
            connection.execute(sqlalchemy.text("ALTER TABLE metrics DROP CONSTRAINT metric_pk"))
            connection.execute(sqlalchemy.text(filled("postgresql", store.runs["long"])))
        engine.dispose()
        assert growth(store.uri) < LIMIT_MIB


def test_from_files(tmp_path: Path):
    root = tmp_path / "mlruns"
    write_meta(root / "123", experiment_id="123", name="e")
    metrics = write_run(root, "long") / "metrics"
    metrics.mkdir()
    for key in range(20):
        with (metrics / f"m{key}").open("w") as file:
            for start in range(0, POINTS // 20, 10_000):
                file.write(
                    "".join(f"{1700000000000 + s} {s / 7} {s}\n" for s in range(start, start + 10_000))
                )
    assert growth(str(root)) < LIMIT_MIB
