"""The same command a second time: nothing if nothing changed, the rest if something was missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.e2e.transfers import Outcome, Target, command, migrate_command
from tests.sdk_reader import SdkReader, SdkRun
from tests.servers import RunningSandbox
from tests.stores import BEGAN, Store, ordinary_store, put, sqlite_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that no test changes."""
    return finished_store(tmp_path_factory.mktemp("store"))


def finished_store(directory: Path) -> Store:
    """A store in which every run is over; the history of one changes its shape on the way."""
    store = ordinary_store(sqlite_store(directory))
    client = MlflowClient(store.uri)
    client.set_terminated(store.runs["still-running"])
    served = client.get_experiment_by_name("served")
    odd = client.create_run(served.experiment_id, start_time=BEGAN).info.run_id
    for value in (1.0, 0.5, 0.25):
        client.log_metric(odd, "loss", value, timestamp=BEGAN + 9_000, step=3)
    client.log_metric(odd, "_runtime", 7.0, timestamp=BEGAN, step=1)
    client.set_terminated(odd, end_time=BEGAN + 10_000)
    store.runs["odd"] = odd
    put(store, odd, {"odd.txt": b"odd"})
    return store


class Migration:
    """One command, as often as one likes."""

    def __init__(self, store: Store, target: Target, state_dir: Path, sandbox: RunningSandbox) -> None:
        self.store, self.target, self.sandbox = store, target, sandbox
        self.state = ("--state-dir", str(state_dir))
        self.artifacts = ("--artifact-root", f"mlflow-artifacts:/={store.served}/")

    def run(self, *options: str) -> tuple[Outcome, int]:
        """What the command said, and how many requests that write the server saw."""
        before = self.sandbox.counters()["writes"]
        outcome = migrate_command(self.store.uri, self.target, *self.state, "--json", *options)
        return outcome, self.sandbox.counters()["writes"] - before


@pytest.fixture
def migration(store: Store, projects: Iterator[Target], tmp_path: Path, sandbox: RunningSandbox) -> Migration:
    return Migration(store, next(projects), tmp_path / "state", sandbox)


@pytest.fixture
def changing(projects: Iterator[Target], tmp_path: Path, sandbox: RunningSandbox) -> Migration:
    """One whose store may be written to."""
    return Migration(finished_store(tmp_path / "store"), next(projects), tmp_path / "state", sandbox)


def comparable(runs: dict[str, SdkRun]) -> dict[str, SdkRun]:
    """Without what differs between two places that hold the same."""
    return {
        run.id: replace(run, created_at="", artifacts=sorted(run.artifacts, key=lambda a: a.name))
        for run in runs.values()
    }


@pytest.fixture(scope="module")
def undisturbed(store: Store, projects: Iterator[Target], reader: SdkReader) -> dict[str, SdkRun]:
    """The store after one transfer in which nothing happened."""
    target = next(projects)
    outcome = migrate_command(store.uri, target, "--artifact-root", f"mlflow-artifacts:/={store.served}/")
    assert outcome.status == 0
    return comparable(reader.project(target.entity, target.project))


def test_a_second_run_over_unchanged_data_writes_nothing_and_says_so(migration: Migration) -> None:
    first, writes = migration.run(*migration.artifacts)
    assert first.status == 0
    assert writes > 50

    second, writes = migration.run()

    assert (second.status, writes) == (0, 0)
    assert (second.events[-1]["runs_skipped"], second.events[-1]["runs_done"]) == (13, 0)
    assert "Nothing changed since the last time, so nothing was written." in second.text
    third, writes = migration.run(*migration.artifacts, "--recheck-artifacts")
    assert (third.status, writes) == (0, 0)


def test_only_what_changed_in_the_store_is_written(changing: Migration, reader: SdkReader) -> None:
    changing.run(*changing.artifacts)
    client, runs = MlflowClient(changing.store.uri), changing.store.runs
    client.log_metric(runs["bare"], "late", 0.5, timestamp=BEGAN, step=1)
    client.set_tag(runs["text-failed"], "verdict", "bad seed")

    outcome, _ = changing.run(*changing.artifacts)

    assert (outcome.events[-1]["runs_skipped"], outcome.events[-1]["runs_done"]) == (11, 2)
    read = reader.project(changing.target.entity, changing.target.project)
    assert read[runs["bare"]].values("late") == [0.5]
    assert read[runs["text-failed"]].labels["verdict"] == "bad seed"


def test_a_file_that_came_later_is_found_by_looking_again(changing: Migration, reader: SdkReader) -> None:
    changing.run(*changing.artifacts)
    run = changing.store.runs["sweep-1"]
    put(changing.store, run, {"late.txt": b"late"})

    assert changing.run()[1] == 0
    outcome, _ = changing.run(*changing.artifacts, "--recheck-artifacts")

    assert (outcome.events[-1]["runs_skipped"], outcome.events[-1]["runs_done"]) == (12, 1)
    latest = reader.project(changing.target.entity, changing.target.project)[run].artifacts
    assert any("late.txt" in artifact.files for artifact in latest)


def test_what_failed_is_brought_by_the_next_run_and_nothing_else(
    migration: Migration, undisturbed: dict[str, SdkRun], reader: SdkReader
) -> None:
    """Without its root the artifacts of three runs cannot be read; their histories and the others arrive."""
    first, _ = migration.run()
    assert (first.status, first.events[-1]["runs_done"], first.events[-1]["runs_failed"]) == (1, 10, 3)
    shown = command("status", *migration.state)
    assert shown.status == 0
    assert "3 × artifact " in shown.text
    assert " at the source, last " in shown.text
    assert "--artifact-root" in shown.text
    assert "engine migrate mlflow:sqlite:" in shown.text

    second, writes = migration.run(*migration.artifacts)

    assert (second.status, second.events[-1]["runs_done"], second.events[-1]["runs_skipped"]) == (0, 3, 10)
    assert second.events[-1]["points"] == 0
    assert writes < 30
    assert migration.run(*migration.artifacts)[1] == 0
    read = comparable(reader.project(migration.target.entity, migration.target.project))
    assert read == undisturbed
    assert read[migration.store.runs["odd"]].losses == {"key_renamed", "steps_resequenced"}
    assert "To bring the rest" not in command("status", *migration.state).text


def test_kill_9_in_the_middle_and_the_same_command_again_end_as_if_undisturbed(
    migration: Migration, undisturbed: dict[str, SdkRun], reader: SdkReader, tmp_path: Path
) -> None:
    arguments = [sys.executable, "-m", "engine.cli.main", "migrate", f"mlflow:{migration.store.uri}"]
    arguments += [migration.target.uri, *migration.state, *migration.artifacts, "--max-rps", "20", "--json"]
    with subprocess.Popen(
        arguments,
        env={**os.environ, "WANDB_API_KEY": migration.target.api_key},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        successes = tmp_path / "state" / "run_successes.jsonl"
        while process.poll() is None and _lines(successes) < 4:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = _lines(successes)
    assert 4 <= done < 13, "it was killed in the middle"

    outcome, _ = migration.run(*migration.artifacts)

    assert outcome.status == 0
    assert outcome.events[-1]["runs_skipped"] >= 4
    assert comparable(reader.project(migration.target.entity, migration.target.project)) == undisturbed
    assert migration.run(*migration.artifacts)[1] == 0


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


HOLDER = """
import pathlib, sys
from engine.transfer.ledger.holder import Holder
from engine.transfer.ledger.lock import locked

with locked(pathlib.Path(sys.argv[1]), Holder.me()):
    print(flush=True)
    sys.stdin.read()
"""


def test_two_engines_do_not_share_a_ledger(migration: Migration, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "state" / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        outcome, writes = migration.run(*migration.artifacts)
        holder.communicate()
    assert (outcome.status, writes) == (2, 0)
    assert f"in use by process {holder.pid}" in outcome.text
