"""A store with everything that is legal in MLflow, or found in old stores, and hard to move.

One run a case; ``Store.runs`` finds it by the case's name. Nothing here is made up to be unfair:
each case was a bug report, or a limit of one of the two systems.
"""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from tests.stores import BEGAN, Point, Sql, Store, put, sqlite_store

NAN, INF = math.nan, math.inf

ODD_KEYS = (
    "train/loss", "train_loss", "a b", " lead", "trail ", "trail", "A", "a", "a.b", "a/b", "a:b", "a,b",
    "a%b", "a#b", "a?b", "a\\b", "a'b", 'a"b', "../x", "a\nb", "tab\t", "ctl\x01", "", "emoji 😀",
    "\u202eright-to-left", "caf\u00e9", "cafe\u0301", "x" * 250, "y" * 10_000, "$where", "__proto__",
    "_step", "_timestamp", "_runtime", "_wandb", "mlflow/step", "system/cpu",
)  # fmt: skip
"""Metric, param and tag keys; the later ones collide with names that W&B gives a meaning of its own."""

ODD_NAMES = {
    "name-newline": "two\nlines",
    "name-traversal": "../x",
    "name-device": "CON",
    "name-300": "n" * 300,
    "name-empty": "",
    "name-spaces": "   ",
    "name-illegal-in-artifact-1": "a,b:c/d",
    "name-illegal-in-artifact-2": "a,b;c/d",
    "name-duplicate-1": "twin",
    "name-duplicate-2": "twin",
    "name-unicode": "实验 № 7 — «Ω» 😀",
    "name-markup": "<script>alert(1)</script>",
}

# MLflow's status → W&B's state; W&B has no request that ends a run as killed.
STATES = {
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "failed",
    "SCHEDULED": "pending",
    "RUNNING": "running",
}

ODD_FILES = {
    "zero": b"",
    "Zero": b"differs by case only",
    "ünïcode/Ω 😀.txt": b"unicode",
    "new\nline.txt": b"newline",
    "trailing dot.": b"dot",
    "trailing space ": b"space",
    "con": b"device",
    "C:drive": b"drive",
    "back\\slash": b"backslash",
    "percent%2Fencoded": b"percent",
    "hash#question?.txt": b"url",
    "cafe\u0301": b"decomposed",
    "caf\u00e9": b"composed",
    "long/" + "l" * 255: b"long",
    ".hidden/.file": b"hidden",
    "..dots/...": b"dots",
    "media/a.png": b"\x89PNG",
    "wandb_manifest.json": b"not a manifest",
    "requirements.txt": b"mlflow\n",
    "<b>&'\".txt": b"markup",
}

ODD_EXPERIMENTS = (
    "with/slash", "with\\backslash", "with#hash", "with?question", "with%percent", "with:colon",
    "e" * 129, "f" * 256, "slug a", "slug/a", "slug:a", "Case", "case", " spaces ", "实验", "...",
)  # fmt: skip

PARAM_VALUES = {
    "none": "None",
    "true": "True",
    "int": "007",
    "float": "1e-3",
    "nan": "nan",
    "list": "[1, 'a']",
    "empty": "",
    "space": " x ",
    "crlf": "a\r\nb",
    "nul": "a\x00b",
    "unicode": "Ω😀",
    "json": '{"a": {"value": 1}}',
}

MANY_FILES = 1_050
DEPTH = 50


def hostile_store(directory: Path) -> Store:
    """All cases that are about single runs, in one experiment, and the ones about several beside it."""
    store = sqlite_store(directory)
    sql = Sql(store)
    hostile = sql.experiment("hostile")
    _numbers(sql, hostile)
    _text(sql, hostile)
    _identity(sql, hostile)
    _nesting(store, sql, hostile)
    _files(store, sql, hostile)
    return store


def _numbers(sql: Sql, experiment: int) -> None:
    def case(label: str, points: list[Point]) -> None:
        sql.run(experiment, label, points=points)

    case("H1-non-finite", [("m", s, BEGAN + s, v) for s, v in enumerate((1.0, NAN, INF, -INF, 2.0, NAN))])
    case("H1-ends-infinite", [("up", 0, BEGAN, INF), ("down", 0, BEGAN, -INF), ("nan", 0, BEGAN, NAN)])
    case("H2-backwards", [("m", 9 - s, BEGAN + 1_000 * s, float(s)) for s in range(10)])
    case("H3-same-step-later", [("m", 3, BEGAN + 1_000 * s, float(s)) for s in range(5)])
    case("H3-same-step-same-time", [("m", 3, BEGAN, float(s)) for s in range(5)])
    case(
        "H3-steps-forgotten",
        [
            (key, 0, BEGAN + 1_000 * s, s + shift)
            for s in range(200)
            for key, shift in (("a", 0.0), ("b", 0.5))
        ],
    )
    case(
        "H3-one-key-doubles",
        [("a", s, BEGAN + s, 1.0) for s in range(5)] + [("b", 2, BEGAN, float(v)) for v in range(3)],
    )
    case("H5-negative-steps", [("m", s, BEGAN + s, float(s)) for s in range(-3, 4)])
    case(
        "H7-huge-steps",
        [("m", s, BEGAN, 1.0) for s in (0, 1_700_000_000, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1)],
    )
    case("H8-many-keys", [(f"k{n:05}", s, BEGAN + s, float(n)) for n in range(2_000) for s in range(2)])
    case("H8-sparse-keys", [(f"s{n:05}", n, BEGAN + n, float(n)) for n in range(2_000)])
    case(
        "H10-odd-times",
        [("m", 0, 0, 1.0), ("m", 1, 2**42, 2.0), ("m", 2, BEGAN, 3.0), ("m", 3, BEGAN - 5, 4.0)],
    )
    case(
        "H11-odd-floats",
        [("m", s, BEGAN, v) for s, v in enumerate((5e-324, 1e-320, 0.1 + 0.2, 1e308, 2**53 + 2.0))],
    )
    case(
        "H15-metric-keys", [(key, s, BEGAN + s, n + 0.5) for n, key in enumerate(ODD_KEYS) for s in range(2)]
    )
    case("H18-no-history", [])


def _text(sql: Sql, experiment: int) -> None:
    sql.run(experiment, "H15-param-keys", params={key: f"value {n}" for n, key in enumerate(ODD_KEYS)})
    sql.run(experiment, "H15-tag-keys", tags={key: f"value {n}" for n, key in enumerate(ODD_KEYS)})
    sql.run(
        experiment,
        "H22-params",
        params={
            "long": "p" * 20_000,
            "value": "1",
            "desc": "2",
            "imported_mlflow_tags": "mine",
            "_import": "mine",
        }
        | {f"p{n:04}": str(n) for n in range(1_000)},
    )
    sql.run(
        experiment,
        "H25-param-values",
        params=PARAM_VALUES,
    )
    sql.run(
        experiment,
        "H27-tags",
        tags={
            "short": "fits", "long": "t" * 65, "very long": "u" * 9_000, "empty": "", "comma": "a,b,c",
            "twin": "same", "twin 2": "same", "TWIN": "Same",
        } | {f"tag {n}": f"v{n}" for n in range(300)},
    )  # fmt: skip
    sql.run(
        experiment,
        "H28-system-tags",
        tags={
            "mlflow.source.name": "/home/ada/secret project/train.py",
            "mlflow.source.git.repoURL": "https://ada:hunter2@git.example/repo.git",
            "mlflow.source.git.commit": "c" * 40,
            "mlflow.source.git.branch": "main",
            "mlflow.log-model.history": '[{"run_id": "x"}]',
        },
    )
    notes = {
        "H29-notes-long": "# " + "markdown " * 120_000,
        "H29-notes-nul": "before\x00after",
        "H29-notes-crlf": "one\r\ntwo\rthree\n",
        "H29-notes-unicode": "Ω \U0001f600 \u202e \ufeff \u2028",
        "H29-notes-empty": "",
    }
    for label, text in notes.items():
        sql.run(experiment, label, tags={"mlflow.note.content": text})


def _identity(sql: Sql, experiment: int) -> None:
    for label, name in ODD_NAMES.items():
        sql.run(experiment, f"H30-{label}", name=name)
    for status in STATES:
        running = status in ("RUNNING", "SCHEDULED")
        sql.run(
            experiment,
            f"H65-{status}",
            status=status,
            ended=None if running else BEGAN + 90_500,
            points=[("m", 0, BEGAN, 1.0)],
        )
    sql.run(experiment, "H72-deleted-run", deleted=True)
    sql.run(sql.experiment("in the trash", deleted=True), "H72-in-deleted-experiment")
    sql.run(experiment, "H76-no-end", ended=None, points=[("m", 0, BEGAN + 5_000, 1.0)])
    sql.run(experiment, "H76-ends-before-start", ended=BEGAN - 60_000, points=[("m", 0, BEGAN, 1.0)])
    sql.run(experiment, "H76-no-start", began=None, ended=None)
    sql.run(experiment, "H76-start-zero", began=0, ended=0)
    for number, name in enumerate(ODD_EXPERIMENTS):
        sql.run(sql.experiment(name), f"H32-{number}")


def _nesting(store: Store, sql: Sql, experiment: int) -> None:
    def child(label: str, parent: str, run_id: str | None = None) -> str:
        return sql.run(experiment, label, tags={"mlflow.parentRunId": parent}, run_id=run_id)

    child("H70-parent-missing", "0" * 32)
    child("H70-parent-is-no-id", "not an id\n../x")
    child("H70-parent-deleted", store.runs["H72-deleted-run"])
    child("H70-parent-elsewhere", store.runs["H32-0"])
    mine = uuid4().hex
    child("H70-own-parent", mine, mine)
    first, second = uuid4().hex, uuid4().hex
    child("H70-cycle-1", second, first)
    child("H70-cycle-2", first, second)
    above = sql.run(experiment, "H71-depth-00")
    for depth in range(1, DEPTH + 1):
        above = child(f"H71-depth-{depth:02}", above)


def _files(store: Store, sql: Sql, experiment: int) -> None:
    put(store, sql.run(experiment, "H39-odd-files"), ODD_FILES)
    put(
        store,
        sql.run(experiment, "H41-many-files"),
        {f"d{n % 7}/{n:04}.txt": str(n).encode() for n in range(MANY_FILES)},
    )
    put(store, sql.run(experiment, "H43-empty-directory"), {"gone": b""})
    directory = (
        store.served.parent / "artifacts" / str(experiment) / store.runs["H43-empty-directory"] / "artifacts"
    )
    directory.joinpath("gone").unlink()
    for number in (1, 2):
        run_id = store.runs[f"H30-name-illegal-in-artifact-{number}"]
        put(store, run_id, {"which.txt": str(number).encode()})
        put(store, store.runs[f"H30-name-duplicate-{number}"], {"which.txt": str(number).encode()})
    sql.run(
        experiment,
        "H73-bucket",
        artifact_uri="s3://no-such-bucket-anywhere/1/artifacts",
        points=[("m", 0, BEGAN, 1.0)],
    )
    sql.run(
        experiment,
        "H73-other-host",
        artifact_uri="file:///no/such/host/1/artifacts",
        points=[("m", 0, BEGAN, 1.0)],
    )
    sql.run(
        experiment,
        "H73-no-server",
        artifact_uri="mlflow-artifacts:/1/x/artifacts",
        points=[("m", 0, BEGAN, 1.0)],
    )
    sql.run(
        experiment, "H73-unknown-scheme", artifact_uri="gopher://x/artifacts", points=[("m", 0, BEGAN, 1.0)]
    )


def long_run_store(directory: Path, *, keys: int, steps: int) -> Store:
    """One run with ``keys × steps`` points, its rows made inside of SQLite."""
    store = sqlite_store(directory)
    sql = Sql(store)
    run_id = sql.run(sql.experiment("long"), "H8-long")
    with closing(sqlite3.connect(store.database)) as database, database:
        database.execute("PRAGMA cache_size = -400000")
        # In the order of the primary key, which makes a hundred times as many rows a second.
        database.execute(
            "WITH RECURSIVE k(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM k WHERE n + 1 < ?), "
            "s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n + 1 < ?) "
            "INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid) "
            "SELECT printf('m%04d', k.n), s.n + k.n / 1000.0, ? + s.n, s.n, 0, ? FROM k, s ORDER BY k.n, s.n",
            (keys, steps, BEGAN, run_id),
        )
    sql.points(run_id, ())
    return store


def many_runs_store(directory: Path, *, runs: int) -> Store:
    """More runs than a page of MLflow's API, each with one point."""
    store = sqlite_store(directory)
    sql = Sql(store)
    experiment = sql.experiment("many")
    for number in range(runs):
        sql.run(experiment, f"H77-{number}", began=BEGAN + number, points=[("m", 0, BEGAN, float(number))])
    return store
