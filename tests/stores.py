"""MLflow stores for tests, made by MLflow itself.

What the client refuses to write but real stores hold (other clients, older servers, imports by SQL)
is inserted with ``Sql``, into a database that MLflow created.
"""

from __future__ import annotations

import functools
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import sqlalchemy
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

BEGAN = 1_700_000_000_123
"""When the first run of a store began (ms)."""

Point = tuple[str, int, int, float]
"""key, step, timestamp in ms, value"""


@dataclass
class Store:
    """A tracking URI, and the ids of the runs in it by what they are there for.

    ``served`` is the directory whose content ``mlflow server --artifacts-destination`` hands out
    under ``mlflow-artifacts:/``.
    """

    uri: str
    served: Path
    runs: dict[str, str] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        """The file of a SQLite store."""
        return Path(self.uri.removeprefix("sqlite:///"))


def sqlite_store(directory: Path) -> Store:
    """An empty SQLite store; creating its 65 tables takes MLflow seconds, so that is done once and copied."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_empty_database(), directory / "mlflow.db")
    return Store(f"sqlite:///{directory / 'mlflow.db'}", _served(directory))


def file_store(directory: Path) -> Store:
    """An empty file store; current MLflow only opens one if told so."""
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    return Store(f"file://{quote(str(directory / 'mlruns'))}", _served(directory))


def copied_to_postgresql(store: Store, uri: str) -> Store:
    """The same store in an empty PostgreSQL database: tables made by MLflow, rows copied."""
    MlflowClient(uri).search_experiments()
    source, target = sqlalchemy.create_engine(store.uri), sqlalchemy.create_engine(uri)
    tables = sqlalchemy.MetaData()
    tables.reflect(target)
    with source.connect() as reading, target.begin() as writing:
        for table in tables.sorted_tables:
            if table.name == "alembic_version":
                continue
            if rows := [dict(row) for row in reading.execute(sqlalchemy.select(table)).mappings()]:
                writing.execute(table.delete())
                writing.execute(table.insert(), rows)
    source.dispose()
    target.dispose()
    return Store(uri, store.served, store.runs)


@functools.cache
def _empty_database() -> Path:
    path = Path(tempfile.mkdtemp(prefix="mlflow-template-")) / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


def _served(directory: Path) -> Path:
    served = directory / "served"
    served.mkdir(parents=True, exist_ok=True)
    return served


def ordinary_store(store: Store) -> Store:
    """Fill a store with what a team has after a week; artifacts in three kinds of root."""
    client = MlflowClient(store.uri)
    root = store.served.parent / "artifacts"
    vision = client.create_experiment("vision/resnet", artifact_location=root.joinpath("1").as_uri())
    client.set_experiment_tag(vision, "team", "vision")
    client.set_experiment_tag(vision, "mlflow.note.content", "Does *ResNet* scale?")
    text = client.create_experiment("text", artifact_location=str(root / "2"))
    served = client.create_experiment("served", artifact_location="mlflow-artifacts:/served")

    parent = _run(store, client, vision, "sweep", name="sweep 1", points=curve(30))
    for index in range(3):
        child = _run(
            store,
            client,
            vision,
            f"sweep-{index}",
            name=f"trial {index}",
            tags={MLFLOW_PARENT_RUN_ID: parent, "trial": str(index)},
            params={"lr": str(10.0**-index), "layers": "[18, 34]", "note": "µ = 0.9, «ok»"},
            points=curve(40, every=1 + index),
            began=BEGAN + 1_000 * index,
        )
        put(store, child, {"model/weights.bin": bytes(range(256)) * 40, "model/MLmodel": b"flavors: {}\n"})
        if index == 0:
            _run(
                store,
                client,
                vision,
                "grandchild",
                tags={MLFLOW_PARENT_RUN_ID: child},
                points=curve(3),
            )
    put(
        store,
        parent,
        {
            "plots/loss.svg": b"<svg/>",
            "plots/deep/er/é ü/Ω.txt": "Ω".encode(),
            "empty.txt": b"",
            "data.bin": os.urandom(70_000),
            "space in name.txt": b"1",
        },
    )
    for status in ("FINISHED", "FAILED", "KILLED"):
        _run(
            store,
            client,
            text,
            f"text-{status.lower()}",
            name="same name",
            status=status,
            params={"epochs": "3", "optimizer/name": "adam", "dropout": "None"},
            tags={"mlflow.source.name": "train.py", "mlflow.source.git.commit": "a" * 40, "release": "yes"},
            points=[*curve(20), ("bleu score", 20, BEGAN + 21_000, 31.5)],
        )
    _run(store, client, text, "still-running", status="RUNNING", points=curve(5))
    datasets = _run(
        store, client, text, "datasets", tags={"mlflow.note.content": "# Notes\r\n\r\n*two* inputs"}
    )
    client.log_inputs(
        datasets,
        [
            DatasetInput(
                Dataset(
                    "train-set", "066351ab", "s3", '{"uri": "s3://bucket/train.csv"}', '{"a": 1}', '{"n": 9}'
                ),
                [InputTag("mlflow.data.context", "training")],
            ),
            DatasetInput(Dataset("eval set/1", "99", "local", '{"uri": "/data/eval"}'), []),
        ],
    )
    proxied = _run(store, client, served, "proxied", params={"a": "1"}, points=curve(10))
    put(store, proxied, {"out/a.txt": b"a" * 10_000, "out/b.txt": b"", "top.json": b"{}"})
    _run(store, client, served, "bare")
    return store


def curve(count: int, *, every: int = 1) -> list[Point]:
    """Three metrics of a training, with own steps and timestamps."""
    return [
        *(("loss", s * every, BEGAN + 1_000 * s, 1.0 / (1 + s)) for s in range(count)),
        *(("acc", s * every, BEGAN + 1_000 * s + 3, 1 - 0.3**s) for s in range(count)),
        *(("val/loss", s * every, BEGAN + 1_000 * s + 900, 2.0 / (1 + s)) for s in range(0, count, 5)),
    ]


def _run(
    store: Store,
    client: MlflowClient,
    experiment: str,
    label: str,
    *,
    name: str | None = None,
    status: str = "FINISHED",
    params: Mapping[str, str] = {},
    tags: Mapping[str, str] = {},
    points: Iterable[Point] = (),
    began: int = BEGAN,
) -> str:
    """A run that the client makes; ``label`` is how tests find it."""
    run_id: str = client.create_run(
        experiment, start_time=began, tags={"mlflow.user": "ada", **tags}, run_name=name or label
    ).info.run_id
    client.log_batch(
        run_id,
        params=[Param(key, value) for key, value in params.items()],
        tags=[RunTag("label", label)],
        metrics=[Metric(key, value, at, step) for key, step, at, value in points],
    )
    if status != "RUNNING":
        client.set_terminated(run_id, status, end_time=began + 90_500)
    store.runs[label] = run_id
    return run_id


def artifact_directory(store: Store, run_id: str) -> Path:
    """Where the files of a run are on this machine."""
    location = str(MlflowClient(store.uri).get_run(run_id).info.artifact_uri)
    if location.startswith("mlflow-artifacts:/"):
        return store.served / location.removeprefix("mlflow-artifacts:/")
    return Path(location.removeprefix("file://"))


def put(store: Store, run_id: str, files: Mapping[str, bytes]) -> None:
    """Files into the artifact directory of a run, as ``log_artifacts`` leaves them there."""
    directory = artifact_directory(store, run_id)
    directory.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        directory.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
        directory.joinpath(path).write_bytes(content)


class Sql:
    """Rows straight into a SQLite store that MLflow made, for what its client would not write."""

    def __init__(self, store: Store, artifacts: Path | None = None) -> None:
        self._store = store
        self._artifacts = artifacts or store.served.parent / "artifacts"

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._store.database)) as database, database:
            database.execute("PRAGMA synchronous = OFF")
            yield database

    def experiment(self, name: str, *, deleted: bool = False) -> int:
        with self._writing() as database:
            (number,) = database.execute("SELECT max(experiment_id) + 1 FROM experiments").fetchone()
            database.execute(
                "INSERT INTO experiments (experiment_id, name, workspace, artifact_location, "
                "lifecycle_stage, creation_time, last_update_time) VALUES (?, ?, 'default', ?, ?, ?, ?)",
                (
                    number,
                    name,
                    self._artifacts.joinpath(str(number)).as_uri(),
                    "deleted" if deleted else "active",
                    BEGAN,
                    BEGAN,
                ),
            )
        return int(number)

    def run(
        self,
        experiment: int,
        label: str,
        *,
        name: str | None = None,
        status: str = "FINISHED",
        began: int | None = BEGAN,
        ended: int | None = BEGAN + 90_500,
        deleted: bool = False,
        artifact_uri: str | None = None,
        params: Mapping[str, str] = {},
        tags: Mapping[str, str] = {},
        points: Iterable[Point] = (),
        run_id: str | None = None,
    ) -> str:
        """A run with exactly these values."""
        run_id = run_id or uuid4().hex
        uri = artifact_uri or f"{self._artifacts.joinpath(str(experiment)).as_uri()}/{run_id}/artifacts"
        with self._writing() as database:
            database.execute(
                "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, "
                "status, start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id) "
                "VALUES (?, ?, 'UNKNOWN', '', '', 'ada', ?, ?, ?, '', ?, ?, ?)",
                (
                    run_id,
                    label if name is None else name,
                    status,
                    began,
                    ended,
                    "deleted" if deleted else "active",
                    uri,
                    experiment,
                ),
            )
            for table, pairs in (("params", params), ("tags", {"label": label, **tags})):
                database.executemany(
                    f"INSERT INTO {table} (key, value, run_uuid) VALUES (?, ?, ?)",
                    [(key, value, run_id) for key, value in pairs.items()],
                )
        self.points(run_id, points)
        self._store.runs[label] = run_id
        return run_id

    def points(self, run_id: str, points: Iterable[Point]) -> None:
        """Points as the SQL store keeps them, NaN and ±inf in its own way, and their ``latest_metrics``."""
        with self._writing() as database:
            database.executemany(
                "INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?,?,?,?,?,?)",
                ((key, *_stored(value, at, step), run_id) for key, step, at, value in points),
            )
            database.execute(
                "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) "
                "SELECT key, value, timestamp, step, is_nan, run_uuid FROM (SELECT *, row_number() OVER "
                "(PARTITION BY key ORDER BY step DESC, timestamp DESC, value DESC) AS place "
                "FROM metrics WHERE run_uuid = ?) WHERE place = 1",
                (run_id,),
            )


def _stored(value: float, at: int, step: int) -> tuple[float, int, int, bool]:
    if value != value:
        return 0.0, at, step, True
    return max(-1.7976931348623157e308, min(1.7976931348623157e308, value)), at, step, False
