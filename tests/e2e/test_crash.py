"""Killed at any moment and started again, as often as it takes: what arrives is what arrives undisturbed."""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine.sandbox import Account
from tests.e2e import world
from tests.e2e.crashing import Launcher, Moment, Plug
from tests.e2e.server_state import server_state
from tests.sdk_reader import SdkReader, SdkRun
from tests.servers import RunningSandbox, running_sandbox
from tests.stores import ordinary_store, sqlite_store

ENTITY = "e2e"
SHARE = 3
"""A process dies within the first third of an undisturbed transfer's requests, or lives if fewer are left."""


@dataclass
class Rehearsal:
    """A server, and commands that are killed while they write to it."""

    sandbox: RunningSandbox
    plug: Plug
    launcher: Launcher
    scratch: Path
    names: Iterator[int]

    def migration(self, source: str, *options: str) -> Migration:
        number = next(self.names)
        state = self.scratch / f"state-{number}"
        return Migration(self, f"p{number}", state, (source, *options))


@dataclass
class Migration:
    """One command with a ledger and a project of its own."""

    rehearsal: Rehearsal
    project: str
    state: Path
    arguments: tuple[str, ...]

    def run(self, moment: Moment | None = None) -> Any:
        """The command once; killed at the moment if it lives to see it."""
        source, *options = self.arguments
        plug = self.rehearsal.plug
        plug.pull_at(moment)
        return self.rehearsal.launcher.run(
            "migrate",
            source,
            f"wandb:{self.rehearsal.sandbox.url}/{ENTITY}/{self.project}",
            *options,
            "--state-dir",
            str(self.state),
            "--json",
            plug=plug,
        )

    def run_to_the_end(self, draw: random.Random, requests: int) -> list[Moment]:
        """Start it until it ends by itself, and return when it was killed."""
        moments: list[Moment] = []
        while True:
            moment = Moment.draw(draw, max(1, requests // SHARE))
            ended = self.run(moment)
            if not ended.was_killed:
                assert ended.status == 0, ended.said
                return moments
            moments.append(moment)
            assert len(moments) < 200, "it does not come to an end"

    def arrived(self) -> dict[str, Any]:
        """All that the server holds, by its database and as the official SDK reads it."""
        sandbox = self.rehearsal.sandbox
        reader = SdkReader(sandbox.url, sandbox.api_key)
        return {
            "records": server_state(sandbox.data_dir, self.project),
            "read": comparable(reader.project(ENTITY, self.project)),
        }

    def is_all_done(self) -> None:
        """The ledger says so, and the same command again writes nothing."""
        status = self.rehearsal.launcher.run("status", "--state-dir", str(self.state), "--json")
        assert status.status == 0, status.said
        (told,) = (json.loads(line) for line in status.said.splitlines())
        assert told["counts"]
        assert all(set(states) == {"done"} for states in told["counts"].values()), told
        before = self.rehearsal.sandbox.counters()["writes"]
        again = self.run()
        assert again.status == 0, again.said
        assert self.rehearsal.sandbox.counters()["writes"] == before


def comparable(runs: dict[str, SdkRun]) -> dict[str, SdkRun]:
    """Without the moment of the import."""
    return {run.id: replace(run, created_at="") for run in runs.values()}


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Generator[Rehearsal]:
    scratch, plug = tmp_path_factory.mktemp("crash"), Plug()
    account = Account(ENTITY)
    with running_sandbox(scratch / "server", accounts=[account], intercept=plug.intercept) as sandbox:
        launcher = Launcher(
            scratch,
            plugins=[world.install(scratch / "plugins")],
            environ={"WANDB_API_KEY": sandbox.api_key},
        )
        yield Rehearsal(sandbox, plug, launcher, scratch, count())


@dataclass
class Undisturbed:
    """A source, and what of it arrives when nothing happens."""

    source: tuple[str, ...]
    arrived: dict[str, Any]
    requests: int


def undisturbed(rehearsal: Rehearsal, *source: str) -> Undisturbed:
    migration = rehearsal.migration(*source)
    ended = migration.run()
    assert ended.status == 0, ended.said
    return Undisturbed(source, migration.arrived(), rehearsal.plug.requests)


@pytest.fixture(scope="module")
def a_world(rehearsal: Rehearsal) -> Undisturbed:
    found = undisturbed(rehearsal, "world:")
    versions = [(name, index) for name, index, *_ in found.arrived["records"]["versions"]]
    assert versions[:5] == [
        ("checkpoint", 0),
        ("checkpoint", 1),
        ("images", 0),
        ("images", 1),
        ("images", 2),
    ]
    assert len(found.arrived["records"]["rows"]) > 600
    return found


@pytest.fixture(scope="module")
def a_store(rehearsal: Rehearsal) -> Undisturbed:
    store = ordinary_store(sqlite_store(rehearsal.scratch / "store"))
    # A run that goes on is never done; it has tests of its own.
    from mlflow import MlflowClient

    MlflowClient(store.uri).set_terminated(store.runs["still-running"])
    return undisturbed(
        rehearsal, f"mlflow:{store.uri}", "--artifact-root", f"mlflow-artifacts:/={store.served}/"
    )


def survives(rehearsal: Rehearsal, expected: Undisturbed, seed: int, moments: int) -> None:
    """So many moments at least, in as many transfers as that takes."""
    draw, killed, transfers = random.Random(seed), 0, 0
    while killed < moments:
        migration = rehearsal.migration(*expected.source)
        drawn = migration.run_to_the_end(draw, expected.requests)
        killed, transfers = killed + len(drawn), transfers + 1
        assert migration.arrived() == expected.arrived, f"seed {seed}, transfer {transfers}: {drawn}"
        migration.is_all_done()
    print(
        f"seed {seed}: killed {killed} times in {transfers} transfers of {expected.requests} requests:",
        dict(rehearsal.plug.hit.most_common()),
    )


@pytest.mark.parametrize("seed", [1, secrets.randbelow(10**6)], ids=["fixed", "random"])
def test_killed_at_any_moment_it_ends_as_if_undisturbed(
    rehearsal: Rehearsal, a_world: Undisturbed, seed: int
) -> None:
    survives(rehearsal, a_world, seed, moments=6)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_so_it_is_at_a_hundred_moments_of_a_world(rehearsal: Rehearsal, a_world: Undisturbed) -> None:
    survives(rehearsal, a_world, secrets.randbelow(10**6), moments=130)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_so_it_is_at_a_hundred_moments_of_an_mlflow_store(rehearsal: Rehearsal, a_store: Undisturbed) -> None:
    survives(rehearsal, a_store, secrets.randbelow(10**6), moments=90)
