"""Older versions of the official SDK write and read here as the current one does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.servers import running_sandbox

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

REPOSITORY = Path(__file__).parents[2]


def run_module(name: str, argument: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.sandbox.{name}", argument],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("version", ["0.22.3", "0.19.11"])
def test_an_older_sdk_writes_and_reads(version: str, tmp_path: Path, sdk_environment: dict[str, str]) -> None:
    packages = tmp_path / "packages"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--target", str(packages), f"wandb=={version}"],
        check=True,
        capture_output=True,
        timeout=180,
    )
    (tmp_path / "work").mkdir()
    with running_sandbox(tmp_path / "sandbox") as sandbox:
        own = {
            "WANDB_BASE_URL": sandbox.url,
            "WANDB_API_KEY": sandbox.api_key,
            "PYTHONPATH": f"{packages}:{REPOSITORY}",
        }
        environment = {**sdk_environment, **own}
        run_module("sdk_writer", str(tmp_path / "work"), environment)
        found: dict[str, Any] = json.loads(run_module("sdk_read_back", "rehearsal/sdk/training", environment))
    report = json.loads((tmp_path / "work" / "report.json").read_text())
    assert report["resumed"] == [0, 2, 4]
    optimizer = {"name": "adam", "beta": 0.9}
    assert found == {
        "version": version,
        "state": "finished",
        "tags": ["baseline", "small"],
        "config": {"lr": 0.1, "layers": [64, 32], "optimizer": optimizer, "late": True},
        "nested": -5,
        "steps": [0, 1, 2, 3, 4, 5, 10, 11],
        "loss": [3, 1, 2, 5, 4, 6],
        "sampled": 3,
        "notes": "kept",
    }
