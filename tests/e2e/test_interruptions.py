"""Whatever stops a transfer, it says so in the agreed way, and the same command brings the rest."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from tests.e2e.crashing import Running
from tests.e2e.rehearsing import ENTITY, Migration, Rehearsal, Undisturbed, comparable, rehearsing
from tests.e2e.server_state import server_state
from tests.sdk_reader import SdkReader
from tests.stores import BEGAN, sqlite_store

MANY = "world:36"
"""More runs than are open at a time, so that some are left when those in hand are done."""


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Generator[Rehearsal]:
    with rehearsing(tmp_path_factory.mktemp("interruptions")) as rehearsal:
        yield rehearsal


@pytest.fixture(scope="module")
def many(rehearsal: Rehearsal) -> Undisturbed:
    return rehearsal.undisturbed(MANY)


@pytest.fixture(scope="module")
def a_world(rehearsal: Rehearsal) -> Undisturbed:
    return rehearsal.undisturbed("world:")


# -- by its user


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_lets_it_finish_what_is_in_hand_and_say_what_is_left(
    rehearsal: Rehearsal, many: Undisturbed, number: signal.Signals
) -> None:
    migration = rehearsal.migration(MANY)

    ended = migration.run(acts={30: lambda process: os.kill(process, number)})

    assert ended.status == 130, ended.said
    assert "finishing the runs in hand; press Ctrl-C again to stop at once" in ended.text
    finished = ended.events[-1]
    done = finished["runs_done"]
    assert 0 < done < 40
    assert (finished["runs_failed"], finished["failures"]) == (0, 0)
    told = re.search(r"interrupted: (\d+) runs( and those that were not listed yet)? are left", ended.text)
    assert told is not None, ended.text
    assert 0 < int(told[1]) <= 40 - done
    assert "Run the same command again to bring the rest." in ended.text
    assert _states(migration) == {"done": done}, "what was begun was finished"
    migration.completes_as(many)


def test_a_second_signal_stops_it_at_once(rehearsal: Rehearsal, many: Undisturbed) -> None:
    """Even if the server keeps everybody waiting."""
    migration, sandbox = rehearsal.migration(MANY), rehearsal.sandbox
    began: list[float] = []

    def interrupt_twice(process: int) -> None:
        stall = {"rules": ["objects PUT: stall 40s", "filestream: stall 40s"]}
        assert sandbox.call("PUT", "/admin/faults", stall)[0] == 200
        os.kill(process, signal.SIGINT)
        time.sleep(0.3)  # as a person does
        began.append(time.monotonic())
        os.kill(process, signal.SIGINT)

    try:
        ended = migration.run(acts={80: interrupt_twice})
        assert time.monotonic() - began[0] < 5
    finally:
        sandbox.call("DELETE", "/admin/faults")
    assert ended.status == 130, ended.said
    assert "What arrived stays. Run the same command again to bring the rest." in ended.text
    assert "Traceback" not in ended.text
    migration.completes_as(many)


def test_it_can_be_interrupted_while_it_connects(rehearsal: Rehearsal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        running = rehearsal.launcher.start(
            "migrate",
            "world:",
            f"wandb:http://127.0.0.1:{port}/{ENTITY}/p",
            "--state-dir",
            str(rehearsal.scratch / "never"),
        )
        connection, _ = silent.accept()
        with connection:
            connection.recv(100)
            os.kill(running.pid, signal.SIGINT)
            ended = running.wait(timeout_s=10)
    assert ended.status == 130, ended.said
    assert "Traceback" not in ended.text


# -- by its disk


@contextmanager
def _small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system of this size, if one may be mounted here."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a disk of its own cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _fill(disk: Path) -> Path:
    """Take all the room that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1024)):
                continue
        except OSError:
            return filler
    raise AssertionError("a disk without end")


def test_a_full_disk_under_the_ledger_stops_it_and_nothing_is_lost(
    rehearsal: Rehearsal, many: Undisturbed, tmp_path: Path
) -> None:
    migration = rehearsal.migration(MANY)
    with _small_disk(tmp_path / "disk", "24m") as disk:
        migration.state = disk / "state"
        ended = migration.run(acts={60: lambda _: _fill(disk)})

        assert ended.status == 3, ended.said
        assert "the ledger" in ended.text
        assert "full" in ended.text
        assert "Traceback" not in ended.text
        told = rehearsal.launcher.run("status", "--state-dir", str(migration.state))
        assert told.status == 0, "what it holds can be read"

        (disk / "filler").unlink()
        migration.completes_as(many)


def test_a_full_disk_for_temporary_data_is_waited_out(
    rehearsal: Rehearsal, a_world: Undisturbed, tmp_path: Path
) -> None:
    migration = rehearsal.migration("world:")
    with _small_disk(tmp_path / "disk", "24m") as disk:
        filler = _fill(disk)
        freed: list[int] = []

        def free(_process: int) -> None:
            filler.unlink()
            freed.append(1)

        # All that needs no room goes on meanwhile.
        ended = migration.run(None, acts={100: free}, environ={"TMPDIR": str(disk)})
        assert freed
        assert ended.status == 0, ended.said
    assert migration.arrived() == a_world.arrived


def test_a_state_directory_on_a_read_only_disk_is_refused_before_anything_starts(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    migration = rehearsal.migration("world:")
    with _small_disk(tmp_path / "disk", "24m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        migration.state = disk / "state"
        before = rehearsal.sandbox.counters()["writes"]
        ended = migration.run()
    assert ended.status == 2, ended.said
    assert "cannot be written: Read-only file system" in ended.text
    assert "--state-dir" in ended.text
    assert rehearsal.sandbox.counters()["writes"] == before


def test_a_ledger_on_a_disk_that_became_read_only_is_refused_and_stays_as_it_is(
    rehearsal: Rehearsal, a_world: Undisturbed, tmp_path: Path
) -> None:
    migration = rehearsal.migration("world:")
    with _small_disk(tmp_path / "disk", "24m") as disk:
        migration.state = disk / "state"
        migration.run(acts={60: lambda process: os.killpg(process, signal.SIGKILL)})
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        ended = migration.run()
        assert ended.status == 2, ended.said
        assert "Read-only file system" in ended.text
        assert "Traceback" not in ended.text
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        migration.completes_as(a_world)


# -- by the destination

_REVOKE = "mutation Revoke($id: String!) { deleteApiKey(input: { id: $id }) { success } }"
_NEW_KEY = "mutation New { generateApiKey(input: {}) { apiKey { id name } } }"


def test_a_key_that_is_revoked_stops_it_and_a_new_one_goes_on(
    rehearsal: Rehearsal, many: Undisturbed
) -> None:
    migration, sandbox = rehearsal.migration(MANY), rehearsal.sandbox
    made = sandbox.graphql(_NEW_KEY)["generateApiKey"]["apiKey"]

    def revoke(_process: int) -> None:
        sandbox.graphql(_REVOKE, id=made["id"])

    ended = migration.run(acts={70: revoke}, environ={"WANDB_API_KEY": made["name"]})

    assert ended.status == 3, ended.said
    assert re.search(r"stopped: destination: HTTP 401.*WANDB_API_KEY", ended.text), ended.text
    assert "Run the same command again" in ended.text
    assert made["name"] not in ended.said
    migration.completes_as(many)


class Server:
    """A sandbox in a process of its own, that can be killed and started again where it was."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._rehearsal = rehearsal
        self.data_dir = Path(tempfile.mkdtemp(dir=rehearsal.scratch))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._running: Running
        self.start()

    def start(self) -> None:
        self._running = self._rehearsal.launcher.start(
            "sandbox", "--port", str(self._port), "--data-dir", str(self.data_dir)
        )
        while "WANDB_API_KEY=" not in self._running.said:
            time.sleep(0.02)

    def kill(self) -> None:
        os.killpg(self._running.pid, signal.SIGKILL)
        assert self._running.wait().was_killed

    @property
    def told(self) -> dict[str, str]:
        """URL and key."""
        return dict(line.split("=", 1) for line in self._running.said.splitlines() if line[:1] == "W")


@pytest.fixture
def server(rehearsal: Rehearsal) -> Generator[Server]:
    server = Server(rehearsal)
    try:
        yield server
    finally:
        server.kill()


def _migrate(rehearsal: Rehearsal, server: Server, state: Path, *options: str) -> Running:
    url, key = server.told["WANDB_BASE_URL"], server.told["WANDB_API_KEY"]
    target = f"wandb:{url}/rehearsal/{state.name}"
    arguments = ["migrate", MANY, target, "--state-dir", str(state), "--json", *options]
    return rehearsal.launcher.start(*arguments, environ={"WANDB_API_KEY": key})


def _wait_for_runs(state: Path, count: int) -> None:
    """Until so many runs arrived."""
    told = state / "run_successes.jsonl"
    while not told.exists() or told.read_bytes().count(b"\n") < count:
        time.sleep(0.01)


def _wait_until_told(running: Running, text: str) -> None:
    while text not in running.said:
        time.sleep(0.02)


def _arrived_at(server: Server, state: Path) -> dict[str, object]:
    read = SdkReader(server.told["WANDB_BASE_URL"], server.told["WANDB_API_KEY"])
    return {
        "records": server_state(server.data_dir, state.name),
        "read": comparable(read.project("rehearsal", state.name)),
    }


def test_a_destination_that_dies_and_comes_back_is_waited_for(
    rehearsal: Rehearsal, many: Undisturbed, server: Server, tmp_path: Path
) -> None:
    state = tmp_path / "back"
    running = _migrate(rehearsal, server, state, "--max-rps", "60")
    _wait_for_runs(state, 5)
    server.kill()
    _wait_until_told(running, "does not answer")
    server.start()

    ended = running.wait()

    assert ended.status == 0, ended.said
    assert ended.events[-1]["runs_done"] == 40
    assert _arrived_at(server, state) == many.arrived


def test_a_destination_that_stays_away_ends_it_and_the_same_command_goes_on(
    rehearsal: Rehearsal, many: Undisturbed, server: Server, tmp_path: Path
) -> None:
    state = tmp_path / "away"
    running = _migrate(rehearsal, server, state, "--max-rps", "60", "--patience", "1")
    _wait_for_runs(state, 5)
    server.kill()

    ended = running.wait()

    server.start()
    assert ended.status == 3, ended.said
    assert re.search(r"stopped: destination: not answering for 1 s", ended.text)
    assert "run the same command again when it is back; what arrived stays" in ended.text
    assert _migrate(rehearsal, server, state).wait().status == 0
    assert _arrived_at(server, state) == many.arrived


# -- by its source


def test_a_run_that_goes_on_at_the_source_gets_its_new_points_only(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    store = sqlite_store(tmp_path / "store")
    client = MlflowClient(store.uri)
    run = client.create_run(client.create_experiment("live")).info.run_id
    migration = rehearsal.migration(f"mlflow:{store.uri}")
    _log(client, run, 0, 400)
    first = migration.run()
    assert (first.status, first.events[-1]["points"]) == (0, 800), first.said

    _log(client, run, 400, 425)
    second = migration.run()

    assert (second.status, second.events[-1]["points"]) == (0, 50), second.said
    client.set_terminated(run)
    assert migration.run().events[-1]["points"] == 0
    expected = rehearsal.undisturbed(f"mlflow:{store.uri}")
    assert len(expected.arrived["records"]["rows"]) == 425
    assert migration.arrived() == expected.arrived
    migration.is_all_done()


def _log(client: MlflowClient, run: str, first: int, last: int) -> None:
    points = [
        Metric(key, 1 / (1 + step), BEGAN + 1_000 * step, step)
        for step in range(first, last)
        for key in ("loss", "acc")
    ]
    for start in range(0, len(points), 500):
        client.log_batch(run, metrics=points[start : start + 500])


def _states(migration: Migration) -> dict[str, int]:
    """How many runs are in which state, by the ledger."""
    status = migration.rehearsal.launcher.run("status", "--state-dir", str(migration.state), "--json")
    states: dict[str, int] = json.loads(status.said)["counts"]["run"]
    return states
