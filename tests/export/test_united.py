"""Parquet files with columns of their own become one table."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from engine.archive.rows import RowWriter
from engine.export.united import one_table
from engine.records import Json


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    def written(name: str, *rows: dict[str, Json]) -> Path:
        path = tmp_path / f"{name}.parquet"
        with RowWriter(path, name, tmp_path) as writer:
            writer.add(rows)
        return path

    return [
        written("a", {"Loss": 1, "n": 1, "m": 1}, {"Loss": 2.5, "n": 2, "m": 2}),
        written("b", {"loss": 7.5, "n": 0.5, "m": "text"}, {"loss_1": 8}),
        written("c", {"LOSS": 9, "m": True, "sp ace": "x", 'q"uote': 1, "line\nbreak": 2}),
    ]


def test_names_that_differ_by_case_alone_stay_apart(files: list[Path]):
    """DuckDB's own reader puts the values of one into the column of another."""
    reader = one_table(files)
    assert [name for name in reader.schema.names if "loss" in name.casefold()] == [
        "Loss",
        "loss_1",
        "loss_1_1",
        "LOSS_2",
    ]
    found = duckdb.sql("SELECT _run, Loss, loss_1, loss_1_1, LOSS_2 FROM reader").fetchall()
    assert found == [
        ("a", 1.0, None, None, None),
        ("a", 2.5, None, None, None),
        ("b", None, 7.5, None, None),
        ("b", None, None, 8, None),
        ("c", None, None, None, 9),
    ]


def test_a_column_takes_what_all_files_have_of_it(files: list[Path]):
    table = one_table(files).read_all()
    assert table["n"].to_pylist() == [1.0, 2.0, 0.5, None, None]
    assert table["m"].to_pylist() == ["1", "2", "text", None, "true"]


def test_any_name_is_a_column(files: list[Path]):
    names = set(one_table(files).schema.names)
    assert {"sp ace", 'q"uote', "line\nbreak"} <= names
    with duckdb.connect() as database:
        database.register("arriving", one_table(files))
        database.execute("CREATE TABLE all_of_it AS SELECT * FROM arriving")
        assert {row[0] for row in database.execute("DESCRIBE all_of_it").fetchall()} == names
