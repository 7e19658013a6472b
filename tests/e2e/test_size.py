"""Stores that are too large to hold: what arrives, and in how much memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

from tests.e2e.transfers import Target, migrate_command
from tests.hostile import long_run_store, many_runs_store
from tests.mlflow_server import running_mlflow
from tests.sdk_reader import SdkReader

pytestmark = pytest.mark.slow

PEAK_MB = 512
# In a small process, because Linux counts the memory of the process that forks as the child's peak.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


@pytest.fixture
def target(projects: Iterator[Target]) -> Target:
    return next(projects)


@pytest.mark.timeout(900)
def test_h8_a_run_of_ten_million_points_arrives_in_bounded_memory(tmp_path: Path, target: Target) -> None:
    store = long_run_store(tmp_path, keys=20, steps=500_000)
    command = [sys.executable, "-m", "engine.cli.main", "migrate", f"mlflow:{store.uri}", target.uri]
    command += ["--state-dir", str(tmp_path / "state")]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command],
        env={**os.environ, "WANDB_API_KEY": target.api_key},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert int(done.stdout) < PEAK_MB
    api = wandb.Api(overrides={"base_url": target.url}, api_key=target.api_key, timeout=300)
    run = api.run(f"{target.entity}/{target.project}/{store.runs['H8-long']}")
    assert run.summary_metrics["m0019"] == 499_999 + 0.019
    seen = 0
    for row in run.scan_history(page_size=20_000, min_step=240_000, max_step=300_000):
        assert row["m0007"] == row["_step"] + 0.007
        seen += 1
    assert seen == 60_000
    assert run.lastHistoryStep == 499_999


@pytest.mark.timeout(900)
@pytest.mark.parametrize("through_a_server", [False, True])
def test_h77_more_runs_than_fit_on_a_page(
    tmp_path: Path, target: Target, reader: SdkReader, through_a_server: bool
) -> None:
    store = many_runs_store(tmp_path, runs=2_100)
    if through_a_server:
        with running_mlflow(store.uri, store.served) as server:
            outcome = migrate_command(server.url, target, "--json", timeout_s=800)
    else:
        outcome = migrate_command(store.uri, target, "--json", timeout_s=800)
    assert outcome.status == 0, outcome.text[-2000:]
    assert outcome.events[-1]["points"] == 2_100
    read = reader.project(target.entity, target.project, bytes_too=False)
    assert read.keys() == set(store.runs.values())
