"""Several engines at work on one transfer: each run arrives once, whoever dies, wherever the ledger is."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from engine.sandbox import Account
from engine.transfer.ledger.holder import Holder
from engine.transfer.ledger.leases import Leases
from engine.transfer.ledger.ledger import LEDGER, LOCK
from engine.transfer.ledger.lock import locked
from engine.transfer.ledger.store import Store, sqlite_url
from tests.e2e.transfers import Target, command
from tests.hostile import many_runs_store
from tests.postgresql import running_postgresql
from tests.sdk_reader import SdkReader
from tests.servers import RunningSandbox, running_sandbox
from tests.stores import Store as MlflowStore

RUNS = 30
CONCURRENCY = 4


class Upserts:
    """Counts the runs that a server is told of, by id; holds its answers until ``let_go``."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self._held = True

    def clear(self) -> None:
        self.seen.clear()
        self._held = True

    def wait_for_two(self) -> None:
        """Until more runs are announced than one engine announces at a time, so that two are at work."""
        while len(self.seen) <= CONCURRENCY:
            time.sleep(0.01)

    def let_go(self) -> None:
        self._held = False

    async def intercept(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/graphql":
            body = json.loads(await request.read())
            if "upsertBucket(" in body["query"]:
                self.seen[body["variables"]["name"]] += 1
                while self._held:  # noqa: ASYNC110 - another thread lets go
                    await asyncio.sleep(0.01)
        return await handler(request)


@pytest.fixture(scope="module")
def upserts() -> Upserts:
    return Upserts()


@pytest.fixture(scope="module")
def server(upserts: Upserts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    directory = tmp_path_factory.mktemp("sandbox")
    with running_sandbox(directory, accounts=[Account("e2e")], intercept=upserts.intercept) as running:
        yield running


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MlflowStore:
    return many_runs_store(tmp_path_factory.mktemp("store"), runs=RUNS)


@pytest.fixture
def target(server: RunningSandbox, upserts: Upserts, request: pytest.FixtureRequest) -> Target:
    upserts.clear()
    return Target(server.url, server.api_key, "e2e", request.node.name.replace("[", "-").rstrip("]"))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """How to name a ledger that two engines share: on one machine, or as if they were on two."""
    if request.param == "sqlite":
        yield ("--state-dir", str(tmp_path / "state"))
        return
    with running_postgresql(tmp_path / "database") as uri:
        yield ("--ledger", uri)


class Sharer:
    """``engine migrate --share`` that is under way; it does not outlive its block."""

    def __init__(self, store: MlflowStore, target: Target, state_dir: Path, *options: str) -> None:
        arguments = ["migrate", f"mlflow:{store.uri}", target.uri, *options, "--share", "--json"]
        arguments += ["--verify", "none", "--concurrency", str(CONCURRENCY)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "engine.cli.main", *arguments],
            env={**os.environ, "WANDB_API_KEY": target.api_key, "ENGINE_STATE_DIR": str(state_dir)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()

    def end(self) -> tuple[int, dict[str, int]]:
        """Its status and last event."""
        out, err = self._process.communicate(timeout=100)
        assert out, err
        return self._process.returncode, json.loads(out.splitlines()[-1])


def test_two_engines_bring_each_run_once(
    store: MlflowStore, target: Target, ledger: tuple[str, ...], upserts: Upserts, tmp_path: Path
) -> None:
    with (
        Sharer(store, target, tmp_path / "first", *ledger) as first,
        Sharer(store, target, tmp_path / "second", *ledger) as second,
    ):
        upserts.wait_for_two()
        upserts.let_go()
        ended = [first.end(), second.end()]

    assert [status for status, _ in ended] == [0, 0]
    done = [last["runs_done"] for _, last in ended]
    assert sum(done) == RUNS
    assert min(done) > 0, "both had a share"
    assert [last["runs_done"] + last["runs_skipped"] for _, last in ended] == [RUNS, RUNS]
    assert set(upserts.seen.values()) == {1}
    assert len(upserts.seen) == RUNS


def test_what_a_killed_engine_had_in_hand_is_brought_by_the_other(
    store: MlflowStore,
    target: Target,
    ledger: tuple[str, ...],
    upserts: Upserts,
    server: RunningSandbox,
    tmp_path: Path,
) -> None:
    with (
        Sharer(store, target, tmp_path / "first", *ledger) as doomed,
        Sharer(store, target, tmp_path / "second", *ledger) as heir,
    ):
        upserts.wait_for_two()
        doomed.kill()
        upserts.let_go()
        status, last = heir.end()

    assert (status, last["runs_done"]) == (0, RUNS)
    # Only what was in hand is sent again.
    assert RUNS < upserts.seen.total() <= RUNS + CONCURRENCY
    runs = SdkReader(server.url, server.api_key).project(target.entity, target.project)
    assert len(runs) == RUNS
    assert all(len(run.rows) == 1 and run.state == "finished" for run in runs.values())


def test_who_does_not_share_is_told_who_is_at_work(
    store: MlflowStore, target: Target, ledger: tuple[str, ...], upserts: Upserts, tmp_path: Path
) -> None:
    url = ledger[1] if ledger[0] == "--ledger" else sqlite_url(tmp_path / "state" / LEDGER)
    holder = Holder.me("engine migrate a b", shares=True)
    with locked(tmp_path / "state" / LOCK, holder):
        at_work = Store(url)
        try:
            number = at_work.migration(f"mlflow:{store.uri}", target.uri)
            Leases(at_work, number, holder).join()
            alone = command(
                "migrate",
                f"mlflow:{store.uri}",
                target.uri,
                *ledger,
                environ={"WANDB_API_KEY": target.api_key, "ENGINE_STATE_DIR": str(tmp_path / "another")},
            )
        finally:
            at_work.close()

    assert alone.status == 2
    assert (
        f"in use by process {os.getpid()} on {holder.host} since {holder.since}: engine migrate a b"
        in alone.text
    )
    assert "add --share" in alone.text
    assert not upserts.seen
