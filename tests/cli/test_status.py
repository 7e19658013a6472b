"""``engine status`` tells what arrived, what failed and why, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from engine.cli.main import app
from engine.transfer.events import Finished, Progress
from engine.transfer.ledger.items import Cause, Item, Kind, State
from engine.transfer.ledger.ledger import LEDGER
from engine.transfer.ledger.store import Store, sqlite_url
from engine.transfer.session_log import Began, session_log

HERE, THERE = "mlflow:sqlite:///here.db", "wandb:https://there/team"


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    broken = Cause(kind="CommError", side="destination", message="too [long]", remedy="make it shorter")
    store = Store(sqlite_url(tmp_path / LEDGER))
    migration = store.migration(HERE, THERE)
    store.write(
        migration,
        [
            *(Item(kind=Kind.RUN, project="p", run=f"r{n}", state=State.DONE) for n in range(1_234)),
            Item(kind=Kind.RUN, project="p", run="x", state=State.FAILED),
            Item(kind=Kind.HISTORY, project="p", run="x", state=State.FAILED, cause=broken),
        ],
    )
    store.close()
    return tmp_path


def asked(*arguments: str) -> str:
    outcome = CliRunner().invoke(app, ["status", *arguments])
    assert outcome.exit_code == 0
    return outcome.output


def test_counts_causes_and_the_next_step_are_shown(state_dir: Path) -> None:
    shown = asked("--state-dir", str(state_dir))
    assert f"{HERE} → {THERE}" in shown
    rows = [line.split() for line in shown.splitlines()]
    assert ["pending", "done", "failed"] in rows
    assert ["run", "0", "1,234", "1"] in rows
    assert ["history", "0", "0", "1"] in rows
    assert "1 × history  too [long]  CommError at the destination, last 20" in shown
    assert "for example p/x" in shown
    assert "→ make it shorter" in shown
    assert f"run the same command again:\n  engine migrate {HERE} {THERE}" in shown


def test_the_directory_may_come_from_the_environment(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_STATE_DIR", str(state_dir))
    assert HERE in asked()


def test_programs_get_one_object_a_migration(state_dir: Path) -> None:
    [line] = asked("--state-dir", str(state_dir), "--json").splitlines()
    told = orjson.loads(line)
    assert (told["source"], told["destination"]) == (HERE, THERE)
    assert told["counts"]["run"] == {"done": 1_234, "failed": 1}
    assert told["failures"][0]["cause"]["message"] == "too [long]"


def test_looking_changes_nothing(state_dir: Path) -> None:
    before = (state_dir / LEDGER).read_bytes()
    asked("--state-dir", str(state_dir))
    assert (state_dir / LEDGER).read_bytes() == before


def test_after_an_interruption_it_counts_what_the_transfer_had_listed(tmp_path: Path) -> None:
    """Also runs of which nothing was begun, so that the ledger does not know them."""
    store = Store(sqlite_url(tmp_path / LEDGER))
    runs = [Item(kind=Kind.RUN, project="p", run=f"r{n}", state=State.DONE) for n in range(18)]
    store.write(store.migration(HERE, THERE), runs)
    store.close()
    moved: dict[str, Any] = {"points": 0, "files": 0, "bytes": 0, "requests": 9, "elapsed_s": 1.0}
    with session_log(tmp_path, Began.by_me(HERE, THERE)) as log:
        log.see(Progress(enumerating=False, runs_found=97, runs_done=18, runs_failed=0, **moved))
        log.see(Finished(runs_done=18, runs_failed=0, failures=0, losses={}, exit_status=130, **moved))
    shown = asked("--state-dir", str(tmp_path))
    assert "Interrupted" in shown
    assert "18 of 97 runs arrived whole" in shown
