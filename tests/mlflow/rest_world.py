"""A store with what a REST reader can stumble over, to be served by a real tracking server."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path

from engine.mlflow.store import RawExperiment
from tests.hostile import ODD_FILES
from tests.stores import BEGAN, Point, Sql, Store, put, sqlite_store

EXPERIMENTS = 1_010
"""More than a page of them."""

PAGED_RUNS = 2_003
"""Two pages and a bit, all of one start time but the last three."""

LONG = 60_001
"""Points of the long metric: two full pages and a rest."""

SHORT_RUNS = 120

CROWDED = 9_000
"""Points on step 0: three such runs fill an answer, though their last step promises one point each."""


def rest_world(directory: Path) -> Store:
    store = sqlite_store(directory)
    sql = Sql(store)
    _listings(sql)
    _histories(sql)
    _artifacts(store, sql)
    with closing(sqlite3.connect(store.database)) as database, database:
        # What the server cannot turn into an answer; a text in a number's column, as SQLite allows it.
        database.execute(
            "UPDATE runs SET end_time = 'broken' WHERE run_uuid = ?", (store.runs["broken-unreadable"],)
        )
    return store


def experiments_of(store: Store) -> dict[str, RawExperiment]:
    """The experiments by name, without listing a thousand others."""
    with closing(sqlite3.connect(store.database)) as database:
        rows = database.execute("SELECT name, experiment_id FROM experiments").fetchall()
    return {name: RawExperiment(id=str(number), name=name) for name, number in rows}


def points_of(store: Store, label: str) -> list[tuple[str, int, int, float]]:
    """What is in the database, in any order, ±DBL_MAX as infinities and flagged values as NaN."""
    with closing(sqlite3.connect(store.database)) as database:
        rows = database.execute(
            "SELECT key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = ?", (store.runs[label],)
        ).fetchall()
    return [
        (key, step, at, math.nan if nan else math.copysign(math.inf, value) if abs(value) > 1e308 else value)
        for key, step, at, value, nan in rows
    ]


def _listings(sql: Sql) -> None:
    paging = sql.experiment("paging")
    with closing(sqlite3.connect(sql._store.database)) as database, database:
        database.executemany(
            "INSERT INTO experiments (name, workspace, artifact_location, lifecycle_stage) "
            "VALUES (?, 'default', '/nowhere', 'active')",
            ((f"one of many {number}",) for number in range(EXPERIMENTS)),
        )
        database.executemany(
            "INSERT INTO runs (run_uuid, name, user_id, status, start_time, lifecycle_stage, artifact_uri, "
            "experiment_id) VALUES (?, 'paged', 'ada', 'FINISHED', ?, 'active', '/nowhere', ?)",
            (
                (f"{number:032x}", BEGAN + max(0, number - PAGED_RUNS + 3), paging)
                for number in range(PAGED_RUNS)
            ),
        )
    sql.run(paging, "paging-deleted", deleted=True, run_id="0" * 31 + "x")
    sql.run(paging, "paging-no-start", began=0)
    sql.experiment("in the trash", deleted=True)

    family = sql.experiment("family")
    parent = sql.run(family, "family-parent", name="the parent", params={"lr": "0.1"})
    sql.run(family, "family-child", tags={"mlflow.parentRunId": parent}, params={"lr": "0.2"})
    sql.run(family, "family-lost", tags={"mlflow.parentRunId": "gone"}, began=BEGAN + 10_000)

    broken = sql.experiment("broken")
    for number in range(5):
        sql.run(broken, f"broken-{number}", began=BEGAN + number)
    sql.run(broken, "broken-unreadable", began=BEGAN + 2)


def _histories(sql: Sql) -> None:
    short = sql.experiment("short histories")
    for number in range(SHORT_RUNS):
        points: list[Point] = [("a", s, BEGAN + s, number + s / 7) for s in range(number + 1)]
        if number % 3 == 0:
            points += [("b/c d", s, BEGAN, -0.0) for s in range(300)]
        sql.run(short, f"short-{number}", points=points, began=BEGAN + number)

    odd = sql.experiment("odd histories")
    values = (1.0, math.nan, math.inf, -math.inf, 5e-324, 0.1 + 0.2, -0.0)
    sql.run(odd, "odd-values", points=[("m", s - 3, BEGAN + s, v) for s, v in enumerate(values)])
    sql.run(odd, "odd-duplicates", points=[("m", 3, BEGAN + s // 2, float(s)) for s in range(9)])
    sql.run(odd, "odd-none")
    sql.run(odd, "odd-names", points=[("ä/β γ", 0, BEGAN, 1.0), ("100%&?#", 0, BEGAN, 2.0)])
    withheld = sql.run(odd, "odd-withheld", points=[("m", 5, BEGAN, 1.0)])

    large = sql.experiment("large histories")
    for number in range(7):
        crowd = [("m", 0, BEGAN + s, float(s)) for s in range(CROWDED)]
        sql.run(large, f"crowded-{number}", points=crowd, began=BEGAN + number)
    alone = [("m", 0, BEGAN + s, float(s)) for s in range(30_000)]
    sql.run(large, "surprise", points=alone, began=BEGAN + 20)
    long = [("m", s, BEGAN + s, s / 3) for s in range(LONG)] + [("s", 1, 2, 3.0)]
    sql.run(large, "long", points=long, began=BEGAN + 21)
    with closing(sqlite3.connect(sql._store.database)) as database, database:
        database.execute("DELETE FROM metrics WHERE run_uuid = ?", (withheld,))


def _artifacts(store: Store, sql: Sql) -> None:
    files = sql.experiment("files")
    for label in ("files-odd", "files-none"):
        run_id = f"{len(label):f>32}"
        root = f"mlflow-artifacts:/{files}/{run_id}/artifacts"
        sql.run(files, label, run_id=run_id, artifact_uri=root)
    put(
        store,
        store.runs["files-odd"],
        {
            **ODD_FILES,
            "table.csv.gz": b"\x1f\x8b not unpacked on the way",
            "answer.json": b'{"error_code": "INTERNAL_ERROR", "message": "only an artifact"}',
            "big.bin": bytes(range(256)) * 14_000,
            **{f"deep/{'d/' * depth}file": b"x" * depth for depth in range(20)},
        },
    )
    sql.run(files, "files-on-disk")
    put(store, store.runs["files-on-disk"], {"here.txt": b"here"})
    sql.run(files, "files-elsewhere", artifact_uri="s3://no-such-bucket/1/artifacts")
