"""Bad days: whatever goes wrong on the way to W&B, what arrives is what arrives on a good day, and once."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from itertools import combinations
from pathlib import Path

import pytest

from engine.errors import AuthError
from engine.sandbox import Account
from tests.e2e.bad_days import ALONE, AT_ONCE, BadDay, arrives_as_on_a_good_day
from tests.e2e.hurry import in_a_hurry
from tests.e2e.transfers import Target, migrate
from tests.servers import RunningSandbox, running_sandbox
from tests.stores import Store, ordinary_store, sqlite_store


@pytest.fixture(scope="module")
def store(stores: Path) -> Store:
    return ordinary_store(sqlite_store(stores / "bad-days"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("bad-days"), accounts=[Account("e2e")]) as running:
        yield running


@pytest.fixture(autouse=True)
def _in_a_hurry() -> Iterator[None]:
    with in_a_hurry():
        yield


@pytest.fixture(scope="module")
def day(server: RunningSandbox, store: Store) -> BadDay:
    return BadDay(server, store)


@pytest.mark.parametrize("name", ALONE)
def test_each_fault_alone_changes_nothing_that_arrives(day: BadDay, name: str) -> None:
    arrives_as_on_a_good_day(day, ALONE[name], seed=1)


@pytest.mark.parametrize("name", AT_ONCE)
def test_three_faults_at_once_change_nothing_that_arrives(day: BadDay, name: str) -> None:
    arrives_as_on_a_good_day(day, AT_ONCE[name], seed=1)


def test_a_key_that_is_revoked_stops_the_transfer_and_a_new_start_ends_it(day: BadDay) -> None:
    expected, target = day.good, day.target()
    revoked = day.rules(["graphql,filestream: 401 after 25 requests"], seed=1)
    with revoked as told, pytest.raises(AuthError, match="401"):
        day.migrate(target)
    assert told[0]["acted"]
    assert day.migrate(target).exit_status == 0
    assert day.read(target) == expected


def test_rules_of_the_command_line_are_in_force_and_reported(store: Store, tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("# a bad day\ngraphql upsertBucket: 409 once\n")
    rules = ["--fault", "objects PUT: SlowDown 2 times", "--fault-file", str(tmp_path / "rules")]
    start = [sys.executable, "-m", "engine.cli.main", "sandbox", "--data-dir", str(tmp_path / "data"), *rules]
    with subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            told = dict(server.stdout.readline().strip().split("=", 1) for _ in range(2))
            target = Target(told["WANDB_BASE_URL"], told["WANDB_API_KEY"], "rehearsal", "p")
            result = migrate(store.uri, target, artifact_roots={"mlflow-artifacts:/": f"{store.served}/"})
        finally:
            server.send_signal(signal.SIGINT)
            _, said = server.communicate(timeout=30)
    assert result.exit_status == 0
    assert re.search(r"# 1 of \d+ requests: graphql upsertBucket: 409 once", said)
    assert re.search(r"# 2 of \d+ requests: objects PUT: SlowDown 2 times", said)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
@pytest.mark.parametrize("name", [*ALONE, *AT_ONCE])
def test_so_it_is_wherever_the_faults_hit(day: BadDay, name: str, seed: int) -> None:
    arrives_as_on_a_good_day(day, {**ALONE, **AT_ONCE}[name], seed)


@pytest.mark.slow
@pytest.mark.parametrize("names", list(combinations(ALONE, 2)), ids=" + ".join)
def test_any_two_faults_at_once_change_nothing_that_arrives(day: BadDay, names: tuple[str, str]) -> None:
    rules = [rule for name in names for rule in ALONE[name]]
    # One of them may leave nothing for the other to act on.
    arrives_as_on_a_good_day(day, rules, seed=1, all_act=False)
