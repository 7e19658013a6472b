"""What ``--help`` says, in a terminal of 80 columns."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from engine.cli.main import SUMMARIES, app, loaded


def told(*arguments: str) -> str:
    outcome = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, [*arguments, "--help"])
    assert outcome.exit_code == 0
    return outcome.stdout


@pytest.mark.parametrize("command", SUMMARIES)
def test_every_command_explains_itself(command: str) -> None:
    assert f"Usage: engine {command}" in told(command).replace("root", "engine")


def test_sentences_flow_as_wide_as_the_terminal() -> None:
    assert "new, what changed and what failed, and doubles nothing." in told("migrate")


def test_tables_keep_their_lines() -> None:
    rules = [line for line in told("sandbox").splitlines() if line.strip().startswith("--fault '")]
    assert len(rules) > 5


def test_examples_of_subcommands_keep_their_lines() -> None:
    shown = [line.strip() for line in told("map", "explain").splitlines()]
    assert "engine map explain names.yaml old-team/vision" in shown
    assert "nothing is wrong" in " ".join(told("map", "check").split())


@pytest.mark.parametrize("command", SUMMARIES)
def test_the_list_of_commands_says_what_each_of_them_says(command: str) -> None:
    assert (loaded(command).help or "").split("\n\n")[0] == SUMMARIES[command]


@pytest.mark.parametrize("asked", ["--version", "--help"])
def test_what_needs_no_command_loads_none(asked: str) -> None:
    """Nor the libraries that take long to load."""
    program = "import sys; from engine.cli.main import app; app(standalone_mode=False)\n"
    program += "print(sorted({'pyarrow', 'numpy', 'sqlalchemy', 'aiohttp', 'anyio'} & {*sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", program, asked], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_command_is_told_with_the_nearest() -> None:
    outcome = CliRunner().invoke(app, ["migrat"])
    assert outcome.exit_code == 2
    assert "migrate" in outcome.output
