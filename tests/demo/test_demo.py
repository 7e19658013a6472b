"""The demo ends in a proof, and its proof would find what is wrong."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from engine.demo.check import compare
from engine.sandbox import Sandbox


def run_demo(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine.cli.main", "demo", "--dir", str(directory), "--no-serve"],
        capture_output=True,
        text=True,
        timeout=110,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    directory = tmp_path_factory.mktemp("demo") / "home"
    return directory, run_demo(directory)


def test_the_demo_verifies_every_point_and_file(demo: tuple[Path, subprocess.CompletedProcess[str]]):
    _, ended = demo
    assert ended.returncode == 0, ended.stderr
    assert "verified 13 runs, 4,766 metric points and 40 files are equal on both sides" in ended.stderr
    assert "steps_resequenced" in ended.stderr, "what changed on the way is told"


@pytest.mark.anyio
async def test_the_check_finds_what_differs(demo: tuple[Path, subprocess.CompletedProcess[str]]):
    directory, _ = demo
    async with Sandbox(data_dir=directory / "sandbox") as server:
        store = directory / "mlflow"
        assert (await compare(store, server.url, server.api_key, server.entity)).differences == ()
        with closing(sqlite3.connect(store / "mlflow.db")) as database, database:
            database.execute("UPDATE metrics SET value = value + 1e-12 WHERE key = 'lr' AND step = 3")
            database.execute("DELETE FROM runs WHERE name = 'holdout'")
        changed = next((store / "files").rglob("weights.bin"))
        changed.write_bytes(changed.read_bytes()[:-1] + b"!")
        differences = "\n".join((await compare(store, server.url, server.api_key, server.entity)).differences)
    assert "'lr', 3" in differences
    assert "has no source" in differences
    assert "weights.bin" in differences


def test_a_directory_that_is_not_the_demos_is_left_alone(tmp_path: Path):
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mine.txt").write_text("precious")
    ended = run_demo(tmp_path)
    assert ended.returncode == 2
    assert "not made by a demo" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert (tmp_path / "mlflow" / "mine.txt").read_text() == "precious"
