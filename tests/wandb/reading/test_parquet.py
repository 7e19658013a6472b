"""Exported files of any shape are one history."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.wandb.reading.parquet import Overlap, as_logged, merged, united


def written(directory: Path, *parts: dict[str, list[Any]]) -> list[Path]:
    paths = []
    for number, part in enumerate(parts):
        paths.append(directory / f"{number}.parquet")
        pq.write_table(pa.table(part), paths[-1])
    return paths


def rows_of(directory: Path, *parts: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(row) for rows in merged(written(directory, *parts)) for row in rows]


def test_parts_that_overlap_give_each_step_once(tmp_path: Path) -> None:
    found = rows_of(
        tmp_path, {"_step": [0, 1, 2], "x": [0.0, 1.0, 2.0]}, {"_step": [1, 2, 3], "x": [1.0, 2.0, 3.0]}
    )
    assert found == [{"_step": step, "x": float(step)} for step in range(4)]
    overlap = Overlap()
    assert sum(len(rows) for rows in merged(sorted(tmp_path.iterdir()), overlap)) == 4
    assert overlap.rows == 2


def test_parts_with_other_columns_make_one_row(tmp_path: Path) -> None:
    found = rows_of(tmp_path, {"_step": [0, 1], "x": [1, None]}, {"_step": [1, 0], "y": ["b", "a"]})
    assert found == [{"_step": 0, "x": 1, "y": "a"}, {"_step": 1, "y": "b"}]


def test_rows_of_one_file_that_share_a_step_stay_apart(tmp_path: Path) -> None:
    assert rows_of(tmp_path, {"_step": [0, 0], "x": [1, 2]}) == [{"_step": 0, "x": 1}, {"_step": 0, "x": 2}]


def test_a_column_may_change_its_type_between_files(tmp_path: Path) -> None:
    found = rows_of(tmp_path, {"_step": [0], "x": [1]}, {"_step": [1], "x": ["one"]})
    assert found == [{"_step": 0, "x": 1}, {"_step": 1, "x": "one"}]


def test_what_is_null_was_not_logged_also_inside_of_values(tmp_path: Path) -> None:
    cells = [{"a": 1, "b": None}, None, {"a": None, "b": {"c": math.inf}}]
    found = rows_of(tmp_path, {"_step": [0, 1, 2], "x": cells, "list": [[1, None], [], None]})
    assert found == [
        {"_step": 0, "x": {"a": 1}, "list": [1, None]},
        {"_step": 1, "list": []},
        {"_step": 2, "x": {"b": {"c": math.inf}}},
    ]


def test_many_rows_come_in_lists_of_bounded_length(tmp_path: Path) -> None:
    path = tmp_path / "long.parquet"
    pq.write_table(pa.table({"_step": range(20_000), "x": [0.5] * 20_000}), path, row_group_size=3_000)
    lengths = [len(rows) for rows in merged([path])]
    assert sum(lengths) == 20_000
    assert max(lengths) <= 4_096


@pytest.mark.parametrize(
    "parts",
    [
        [{"_step": [0, 1, 1], "x": [0.5, None, 1.5]}],
        [{"_step": [0, 1], "x": [1, 2]}, {"_step": [], "x": []}, {"_step": [5, 6], "y": ["a", "b"]}],
        [{"_step": [None, 3], "x": [1, 2]}, {"_step": [4], "x": [{"a": None, "b": 1}]}],
    ],
    ids=["one", "several", "rows without a step, and nested ones"],
)
def test_files_that_follow_each_other_come_as_they_are(tmp_path: Path, parts: list[dict[str, Any]]) -> None:
    paths = written(tmp_path, *parts)
    batches = list(united(paths))
    assert all(isinstance(batch, pa.RecordBatch) for batch in batches)
    rows = [row for batch in batches for row in as_logged(batch)]
    assert rows == [row for rows in merged(paths) for row in rows]


@pytest.mark.parametrize(
    "parts",
    [
        [{"_step": [0, 1], "x": [1, 2]}, {"_step": [1, 2], "y": [1, 2]}],
        [{"_step": [5, 6], "x": [1, 2]}, {"_step": [0, 1], "x": [1, 2]}],
        [{"_step": [1, 0], "x": [1, 2]}],
    ],
    ids=["a step in two files", "the later file first", "rows in no order"],
)
def test_files_that_do_not_follow_each_other_are_merged(tmp_path: Path, parts: list[dict[str, Any]]) -> None:
    paths = written(tmp_path, *parts)
    assert list(united(paths)) == list(merged(paths))


def test_only_the_columns_that_are_wanted_are_read(tmp_path: Path) -> None:
    nested = [{"y": 1, "z": {"a": 2}}]
    paths = written(tmp_path, {"_step": [0], "x": [1], "x.y": [2], "nested": nested, "other": ["text"]})

    def columns(*keys: str) -> list[str]:
        (batch,) = united(paths, keys)
        assert isinstance(batch, pa.RecordBatch)
        return list(batch.schema.names)

    assert columns("x") == ["_step", "x"]
    assert columns("x.y") == ["_step", "x", "x.y"]
    assert columns("nested.z.a", "nobody") == ["_step", "nested"]
