"""Reports, workspaces and sweeps as wandb-workspaces and the official SDK write and read them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.servers import RunningSandbox


@pytest.fixture(scope="module")
def written(
    sandbox: RunningSandbox, sdk_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    directory = tmp_path_factory.mktemp("view-writer")
    done = subprocess.run(
        [sys.executable, "-m", "tests.sandbox.sdk_view_writer", str(directory)],
        env={**sdk_environment, "WANDB_BASE_URL": sandbox.url, "WANDB_API_KEY": sandbox.api_key},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((directory / "report.json").read_text())


def test_a_report_is_read_back_from_its_url(written: Any) -> None:
    report = written["report"]
    assert (report["title"], report["description"]) == ("Second title", "why")
    assert report["blocks"] == ["H1", "P", "MarkdownBlock", "PanelGrid"]
    assert "/ann/sdk-views/reports/First-title--" in report["url"]


def test_saving_a_report_again_changes_it_in_place(written: Any) -> None:
    assert written["report"]["listed"] == ["Second title"]


def test_a_deleted_report_is_gone(written: Any) -> None:
    assert written["report"]["listed at last"] == ["Second title"]


def test_a_workspace_is_read_back_from_its_url(written: Any) -> None:
    assert written["workspace"] == {"name": "My view", "sections": ["Curves"]}


def test_an_agent_runs_what_the_sweep_hands_out(written: Any) -> None:
    sweep = written["sweep"]
    (seen,) = sweep["seen"]
    assert seen["config"] == {"lr": 0.1, "layers": 3}
    assert seen["sweep"] == sweep["id"]
    assert sweep["runs"] == [[seen["id"], "finished", seen["config"]]]


def test_a_sweep_is_read_back(written: Any) -> None:
    sweep = written["sweep"]
    assert (sweep["state"], sweep["method"], sweep["expected"]) == ("RUNNING", "grid", 2)
    assert sweep["best"] == sweep["seen"][0]["id"]
