"""``engine report``, and ``engine status`` while another process transfers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from engine.cli.arguments import invocation
from engine.cli.main import app, main
from tests.dashboard.test_report import HERE, ledger, session

TRANSFER = """
import sys, anyio
from pathlib import Path
from engine.records import Namespace, Run
from engine.transfer.engine import Engine
from engine.transfer.events import Progress
from engine.transfer.options import Options
from tests.memory import MemoryDestination, MemoryRun, MemorySource

def run(number):
    run = Run(id=f"r{number}", namespace=Namespace("", "vision"), started_at=number)
    return MemoryRun(run, history=[("loss", 0, 1, 0.5)], files={"a": b"1234"})

async def main():
    target = MemoryDestination(gate=anyio.Event())  # never set: no history arrives
    source = MemorySource({"vision": [run(n) for n in range(3)]})
    async with Engine(source, target, Options(state_dir=Path(sys.argv[1]))) as engine:
        async for event in engine.events():
            if isinstance(event, Progress) and event.files == 3:
                print("ready", flush=True)

anyio.run(main)
"""


def asked(*arguments: str) -> str:
    outcome = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout


def test_status_tells_of_a_transfer_in_another_process_and_of_its_sudden_end(tmp_path: Path) -> None:
    look = ("status", "--state-dir", str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", TRANSFER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as transfer:
        assert transfer.stdout is not None
        assert transfer.stdout.readline() == "ready\n"

        shown = asked(*look)
        assert "Under way  0 of 3 runs" in shown
        assert f"process {transfer.pid} on {os.uname().nodename} since 20" in shown
        assert ["run", "3", "0", "0"] in [line.split() for line in shown.splitlines()]
        assert "run the same command again" not in shown
        told = orjson.loads(asked(*look, "--json"))
        assert told["running"]["pid"] == transfer.pid
        assert told["running"]["progress"]["files"] == 3
        assert "Under way" in asked("report", "--state-dir", str(tmp_path), "--format", "md")

        transfer.send_signal(signal.SIGKILL)
        transfer.wait()

    shown = asked(*look)
    assert "Ended without a word" in shown
    assert "run the same command again:\n  engine migrate memory:source" in shown
    assert orjson.loads(asked(*look, "--json"))["running"] is None
    # Nothing runs any more, so that watching ends at once.
    assert asked(*look, "--watch") == shown


def test_the_page_goes_to_the_state_directory_and_text_to_standard_output(tmp_path: Path) -> None:
    ledger(tmp_path)
    session(tmp_path)
    where = ("--state-dir", str(tmp_path))
    assert asked("report", *where) == ""
    assert (tmp_path / "report.html").read_text().lstrip().startswith("<!doctype html>")
    assert asked("report", *where, "--format", "md").startswith("# 1 item did not arrive")
    assert orjson.loads(asked("report", *where, "--format", "json"))["migrations"]
    assert "<!doctype html>" in asked("report", *where, "--out", "-")
    asked("report", *where, "--out", str(tmp_path / "r.md"))
    assert HERE in (tmp_path / "r.md").read_text().replace("\\", "")


@pytest.mark.parametrize("command", ["report", "status"])
def test_a_directory_without_a_ledger_is_told_with_a_next_step(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["engine", command, "--state-dir", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "there is no ledger in" in (told := capsys.readouterr().err)
    assert "--state-dir" in told


def test_the_command_to_repeat_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["engine", "migrate", "mlflow:postgresql://me:hunter2@db/x?sslpassword=hunter2", "wandb:a b"]
    monkeypatch.setattr(sys, "argv", typed)
    told = invocation()
    assert "hunter2" not in told
    assert "postgresql://me:***@db/x" in told
    assert told.endswith("'wandb:a b'")
