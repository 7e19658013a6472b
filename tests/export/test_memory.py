"""The memory of an export does not depend on how long a history is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

MOST_MIB = 400


def peak_mib(directory: Path, form: str, count: int) -> int:
    """Of a process that archives one history of this length."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.export.large", str(directory), form, str(count)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    name = "points" if form == "points" else "history"
    (path,) = directory.glob(f"projects/*/{name}/*.parquet")
    assert pq.ParquetFile(path).metadata.num_rows == count
    return int(done.stdout)


@pytest.mark.parametrize("form", ["points", "rows"])
def test_a_million_points_need_little_more_memory_than_few(tmp_path: Path, form: str):
    few, many = peak_mib(tmp_path / "few", form, 1_000), peak_mib(tmp_path / "many", form, 1_000_000)
    assert many < MOST_MIB
    assert many - few < 200


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("form", ["points", "rows"])
def test_ten_million_points_are_exported_in_400_mib(tmp_path: Path, form: str):
    assert peak_mib(tmp_path / "archive", form, 10_000_000) < MOST_MIB
