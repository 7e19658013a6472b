"""Makes the MLflow store that the benchmark moves, once, and keeps it."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

BEGAN = 1_700_000_000_000


@dataclass(frozen=True)
class Size:
    """How much there is: each run has ``keys`` metrics of ``steps`` points, and two sets of files."""

    runs: int = 200
    keys: int = 20
    steps: int = 500

    @property
    def points(self) -> int:
        return self.runs * self.keys * self.steps

    def __str__(self) -> str:
        return f"{self.runs}x{self.keys}x{self.steps}"


FILES = {
    "model/MLmodel": 400,
    "model/weights.bin": 200_000,
    "model/requirements.txt": 80,
    "plots/loss.png": 30_000,
    "plots/confusion.png": 30_000,
    "plots/samples.csv": 5_000,
}
"""Bytes by path, of each run."""


@dataclass(frozen=True)
class BenchmarkStore:
    directory: Path

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.directory / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        return self.directory / "artifacts"


def store_of(size: Size, cache: Path) -> BenchmarkStore:
    """The store of this size, from the cache or new; runs by MLflow's client, points by SQL."""
    store = BenchmarkStore(cache / f"store-{size}")
    if not store.directory.exists():
        making = BenchmarkStore(cache / f"making-{size}")
        shutil.rmtree(making.directory, ignore_errors=True)
        making.artifacts.mkdir(parents=True)
        _make(making, size)
        making.directory.rename(store.directory)
    return store


def _make(store: BenchmarkStore, size: Size) -> None:
    client = MlflowClient(store.uri)
    experiment = client.create_experiment("benchmark", artifact_location="mlflow-artifacts:/1")
    numbers = random.Random(size.runs)
    with closing(sqlite3.connect(store.directory / "mlflow.db")) as database:
        for index in range(size.runs):
            run = client.create_run(experiment, start_time=BEGAN + index, run_name=f"run {index}")
            run_id = run.info.run_id
            for number in range(10):
                client.log_param(run_id, f"param_{number}", numbers.random())
            client.set_tag(run_id, "team", "benchmark")
            client.set_terminated(run_id, end_time=BEGAN + index + 1000 * size.steps)
            for path, length in FILES.items():
                file = store.artifacts / "1" / run_id / "artifacts" / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(numbers.randbytes(length))
            with database:
                insert = (
                    "INSERT INTO metrics (run_uuid, key, step, timestamp, value, is_nan) VALUES (?,?,?,?,?,0)"
                )
                database.executemany(insert, _points(run_id, size, numbers))
                database.execute(
                    "INSERT INTO latest_metrics (run_uuid, key, step, timestamp, value, is_nan) "
                    "SELECT run_uuid, key, step, timestamp, value, is_nan FROM metrics "
                    "WHERE run_uuid = ? AND step = ?",
                    (run_id, size.steps - 1),
                )


def _points(run_id: str, size: Size, numbers: random.Random) -> Iterator[tuple[str, str, int, int, float]]:
    for step in range(size.steps):
        for key in range(size.keys):
            yield run_id, f"group_{key % 4}/metric_{key}", step, BEGAN + 1000 * step, numbers.random()
