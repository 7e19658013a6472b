"""Exported files of any shape are one history."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.wandb.reading.parquet import merged


def rows_of(directory: Path, *parts: dict[str, list[Any]]) -> list[dict[str, Any]]:
    paths = []
    for number, part in enumerate(parts):
        paths.append(directory / f"{number}.parquet")
        pq.write_table(pa.table(part), paths[-1])
    return [dict(row) for rows in merged(paths) for row in rows]


def test_parts_that_overlap_give_each_step_once(tmp_path: Path) -> None:
    found = rows_of(
        tmp_path, {"_step": [0, 1, 2], "x": [0.0, 1.0, 2.0]}, {"_step": [1, 2, 3], "x": [1.0, 2.0, 3.0]}
    )
    assert found == [{"_step": step, "x": float(step)} for step in range(4)]


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
