"""Out of one system into an archive, out of the archive into another: as if there had been no archive."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.archive.reading import exact
from tests.e2e.transfers import Target, command, migrate_command
from tests.hostile import many_runs_store
from tests.sdk_reader import SdkReader
from tests.stores import ordinary_store, sqlite_store


def told(reader: SdkReader, target: Target) -> dict[str, Any]:
    """All runs as the SDK reads them; when they were made there is another moment each time."""
    return {
        run_id: exact(asdict(replace(run, created_at="")))
        for run_id, run in reader.project(target.entity, target.project).items()
    }


def test_what_is_restored_is_what_a_direct_migration_brings(
    tmp_path: Path, projects: Iterator[Target], reader: SdkReader
):
    store = ordinary_store(sqlite_store(tmp_path / "store"))
    roots = ("--artifact-root", f"mlflow-artifacts:={store.served}")
    direct, restored = next(projects), next(projects)
    archive = f"archive:{tmp_path / 'archive'}"
    assert migrate_command(store.uri, direct, *roots).status == 0
    kept = command("migrate", f"mlflow:{store.uri}", archive, *roots, "--verify", "deep")
    assert kept.status == 0, kept.text
    back = command("migrate", archive, restored.uri, environ={"WANDB_API_KEY": restored.api_key})
    assert back.status == 0, back.text
    found, wanted = told(reader, restored), told(reader, direct)
    assert found.keys() == wanted.keys()
    for run_id, run in wanted.items():
        for name, value in run.items():
            assert found[run_id][name] == value, (run_id, name)


@pytest.mark.slow
def test_killed_at_any_moment_and_run_again_an_export_is_what_it_would_be(tmp_path: Path):
    store = many_runs_store(tmp_path / "store", runs=60)

    def arguments(out: Path) -> list[str]:
        return ["export", f"mlflow:{store.uri}", "--out", str(out), "--artifacts"]

    began = time.monotonic()
    assert command(*arguments(tmp_path / "whole")).status == 0
    took = time.monotonic() - began
    for attempt in range(3):
        out = tmp_path / f"killed-{attempt}"
        process = subprocess.Popen([sys.executable, "-m", "engine.cli.main", *arguments(out)])
        time.sleep(random.uniform(0.5, 1.0) * took)
        process.send_signal(signal.SIGKILL)
        process.wait()
        again = command(*arguments(out))
        assert again.status == 0, again.text
        assert contents(out) == contents(tmp_path / "whole")


def contents(root: Path) -> dict[str, bytes]:
    """Every file of an archive, without what is hidden."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }
