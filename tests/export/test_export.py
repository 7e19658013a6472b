"""``engine export``: what people find in the directory, with the tools that they open it with."""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pytest
from typer.testing import CliRunner

from engine.cli.main import app
from engine.errors import ConfigError
from tests.stores import Store, ordinary_store, sqlite_store

POINTS = 505
"""In the histories of the active runs of an ordinary store."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return ordinary_store(sqlite_store(tmp_path_factory.mktemp("store")))


def export(store: Store, out: Path, *options: str) -> str:
    done = CliRunner().invoke(app, ["export", f"mlflow:{store.uri}", "--out", str(out), *options])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def out(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory, exported to in each format, one after the other."""
    path = tmp_path_factory.mktemp("export") / "out"
    for form in ("parquet", "csv", "jsonl", "duckdb"):
        export(store, path, "--format", form)
    return path


def test_the_files_open_in_pandas(out: Path):
    runs = pd.read_parquet(out / "runs.parquet")
    assert len(runs) == 12
    assert runs["started_at"].dtype == "datetime64[ms, UTC]"
    assert runs.set_index("id")["config.lr"].dropna().map(float).max() == 1.0
    first = next(iter(sorted(out.glob("projects/*/points/*.parquet"))))
    assert list(pd.read_parquet(first).columns) == ["_run", "key", "step", "timestamp", "value"]


def test_the_files_open_in_polars(out: Path):
    assert pl.read_parquet(out / "runs.parquet").height == 12
    points = pl.scan_parquet(out / "projects/*/points/*.parquet")
    assert points.collect().height == POINTS
    assert points.collect().schema["value"] == pl.Float64


def test_the_files_open_in_duckdb(out: Path):
    found = duckdb.sql(f"SELECT count(*), count(DISTINCT _run) FROM '{out}/projects/*/points/*.parquet'")
    assert found.fetchall() == [(POINTS, len(list(out.glob("projects/*/points/*.parquet"))))]


def test_the_duckdb_database_has_a_table_of_each(out: Path):
    with duckdb.connect(str(out / "export.duckdb"), read_only=True) as database:
        assert database.sql("SELECT count(*) FROM runs").fetchall() == [(12,)]
        assert database.sql("SELECT count(*) FROM runs JOIN points ON id = _run").fetchall() == [(POINTS,)]


def test_csv_has_what_the_recipe_of_the_guide_makes(out: Path):
    """Row numbers, ``summary``, ``config`` and ``name``, dicts as Python shows them: pandas writes it so."""
    (path,) = out.glob("csv/projects/vision-*.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["", "summary", "config", "name"]
    assert [row[""] for row in rows] == [str(number) for number in range(len(rows))]
    trial = next(row for row in rows if row["name"] == "trial 0")
    assert ast.literal_eval(trial["config"])["layers"] == "[18, 34]"
    assert ast.literal_eval(trial["summary"])["acc"] == 1.0


def test_csv_has_the_run_table_and_the_histories(out: Path):
    assert len(pd.read_csv(out / "csv/runs.csv")) == 12
    assert sum(len(pd.read_csv(path)) for path in out.glob("csv/points/*/*.csv")) == POINTS


def test_json_lines_are_strict_json(out: Path):
    def refuse(text: str) -> Any:
        raise AssertionError(text)

    lines = [line for path in out.glob("jsonl/points/*/*.jsonl") for line in path.read_text().splitlines()]
    points = [json.loads(line, parse_constant=refuse) for line in lines]
    assert len(points) == POINTS
    assert points[0].keys() == {"key", "step", "timestamp", "value"}
    runs = [
        json.loads(line, parse_constant=refuse)
        for line in (out / "jsonl/runs.jsonl").read_text().splitlines()
    ]
    assert {run["id"] for run in runs} == set(pd.read_parquet(out / "runs.parquet")["id"])


def test_only_the_keys_that_were_asked_for(store: Store, tmp_path: Path):
    export(store, tmp_path / "out", "--keys", "loss")
    found = pl.read_parquet(tmp_path / "out/projects/*/points/*.parquet")
    assert set(found["key"]) == {"loss"}


def test_a_key_that_no_history_has_is_told(store: Store, tmp_path: Path):
    assert "no history that was read has\x20losss\n" in export(
        store, tmp_path / "out", "--keys", "losss", "--keys", "loss"
    )


def test_the_run_table_has_its_columns_though_no_run_has_anything(store: Store, tmp_path: Path):
    export(store, tmp_path / "out", "--limit", "0", "--format", "duckdb")
    runs = pd.read_parquet(tmp_path / "out/runs.parquet")
    assert len(runs) == 0
    assert {"id", "name", "state", "group", "started_at", "tags", "commit", "config_json"} <= set(
        runs.columns
    )
    assert runs["started_at"].dtype == "datetime64[ms, UTC]"
    with duckdb.connect(str(tmp_path / "out/export.duckdb"), read_only=True) as database:
        assert database.sql("SELECT count(id) FROM runs").fetchall() == [(0,)]


def test_where_nothing_can_be_written_is_told_by_the_option_that_names_it(store: Store, tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    done = CliRunner().invoke(app, ["export", f"mlflow:{store.uri}", "--out", str(tmp_path / "file")])
    assert isinstance(done.exception, ConfigError)
    assert "--out" in str(done.exception)


def test_a_mongo_filter_chooses_among_runs_of_mlflow(store: Store, tmp_path: Path):
    export(
        store, tmp_path / "out", "--filter", '{"config.layers": "[18, 34]", "config.lr": {"$in": ["1.0"]}}'
    )
    assert set(pd.read_parquet(tmp_path / "out/runs.parquet")["name"]) == {"trial 0"}


def test_a_directory_with_something_else_in_it_is_left_alone(store: Store, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("mine")
    done = CliRunner().invoke(app, ["export", f"mlflow:{store.uri}", "--out", str(tmp_path)])
    assert done.exit_code != 0
    assert "something else than an archive" in str(done.exception)
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")} == {"thesis.tex"}


def test_a_second_export_writes_no_history_again(store: Store, tmp_path: Path):
    out = tmp_path / "out"
    export(store, out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("projects/**/*.*")}
    export(store, out)
    assert {path: path.stat().st_mtime_ns for path in out.glob("projects/**/*.*")} == before
    assert not (out / "earlier").exists()
