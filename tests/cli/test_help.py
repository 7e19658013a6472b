"""What ``--help`` says, in a terminal of 80 columns."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from engine.cli.main import app


def told(*arguments: str) -> str:
    outcome = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, [*arguments, "--help"])
    assert outcome.exit_code == 0
    return outcome.stdout


@pytest.mark.parametrize("command", ["plan", "migrate", "verify", "export", "status", "report", "sandbox"])
def test_every_command_explains_itself(command: str) -> None:
    assert f"Usage: engine {command}" in told(command).replace("root", "engine")


def test_sentences_flow_as_wide_as_the_terminal() -> None:
    assert "new, what changed and what failed, and doubles nothing." in told("migrate")


def test_tables_keep_their_lines() -> None:
    rules = [line for line in told("sandbox").splitlines() if line.strip().startswith("--fault '")]
    assert len(rules) > 5
