"""A run that the official SDK still writes to: carried as far as it is, followed up, and never doubled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.sandbox import Account
from tests.e2e.transfers import Outcome, command
from tests.e2e.wandb_pair import A, B, api_of
from tests.servers import RunningSandbox, running_sandbox

PROJECT, RUN = "going", "on"
LINES = """query ($e: String!, $p: String!, $r: String!) { project(entityName: $e, name: $p) {
    run(name: $r) { historyLineCount state fileCount } } }"""
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Writer:
    """The process that trains."""

    process: subprocess.Popen[str]
    server: RunningSandbox

    def tell(self, line: str) -> None:
        """Returns when the SDK has taken it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == line.partition(" ")[0]

    def log(self, rows: int, until: int) -> None:
        """Log rows, and wait until the server has ``until`` of them."""
        self.tell(f"log {rows}")
        deadline = time.monotonic() + PATIENCE_S
        while _lines(self.server, A) < until:
            assert time.monotonic() < deadline, "the SDK did not send its rows"
            time.sleep(0.05)


def _lines(server: RunningSandbox, entity: str) -> int:
    run = server.graphql(LINES, e=entity, p=PROJECT, r=RUN)["project"]["run"]
    lines: int = run["historyLineCount"]
    return lines


@dataclass(frozen=True)
class World:
    source: RunningSandbox
    target: RunningSandbox
    state: Path

    def migrate(self, *options: str) -> tuple[Outcome, int]:
        """What the command said, and how many writes it took."""
        before = self.target.counters().get("writes", 0)
        outcome = command(
            "migrate",
            f"wandb:{self.source.url}/{A}/{PROJECT}",
            f"wandb:{self.target.url}/{B}/{PROJECT}",
            *("--source-api-key-env", "OLD_KEY", "--dest-api-key-env", "NEW_KEY"),
            *("--state-dir", str(self.state), "--verify", "full", *options),
            environ={"OLD_KEY": self.source.api_key, "NEW_KEY": self.target.api_key},
        )
        assert outcome.status == 0, outcome.err
        return outcome, self.target.counters()["writes"] - before

    def certificate(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / "certificate.json").read_text())
        return found


@pytest.fixture
def world(tmp_path: Path) -> Generator[World]:
    with (
        running_sandbox(tmp_path / "from", accounts=[Account(A)]) as source,
        running_sandbox(tmp_path / "to", accounts=[Account(B)]) as target,
    ):
        yield World(source, target, tmp_path / "state")


@pytest.fixture
def writer(world: World) -> Generator[Writer]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.sdk_live", PROJECT, RUN],
        env={**os.environ, "WANDB_BASE_URL": world.source.url, "WANDB_API_KEY": world.source.api_key},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            assert process.stdout.readline().strip() == "ready"
            yield Writer(process, world.source)
        finally:
            process.kill()


def rows(server: RunningSandbox, entity: str) -> list[dict[str, Any]]:
    return list(api_of(server).run(f"{entity}/{PROJECT}/{RUN}").scan_history())


def test_a_run_that_goes_on_is_carried_followed_up_and_certified_when_it_has_ended(
    world: World, writer: Writer
) -> None:
    writer.log(5, until=5)
    writer.tell("keep first")
    outcome, _ = world.migrate("--no-live")
    assert not list(api_of(world.target).runs(f"{B}/{PROJECT}")), "it was to be left out"

    outcome, _ = world.migrate()
    assert "1 run still going on" in outcome.text
    assert api_of(world.target).run(f"{B}/{PROJECT}/{RUN}").state == "running"
    assert rows(world.target, B) == rows(world.source, A)
    certificate = world.certificate()
    assert certificate["runs"] == []
    (left,) = certificate["not_verified"]
    assert (left["run"], left["reason"][:26]) == (RUN, "it goes on at the source; ")

    writer.log(5, until=10)
    writer.tell("keep second")
    world.migrate()
    assert rows(world.target, B) == rows(world.source, A)
    assert _lines(world.target, B) == 10, "no row is there twice"

    writer.tell("finish")
    outcome, _ = world.migrate()
    assert "still going on" not in outcome.text
    there, here = (
        api_of(server).run(f"{entity}/{PROJECT}/{RUN}")
        for server, entity in ((world.source, A), (world.target, B))
    )
    assert here.state == there.state == "finished"
    assert here.summary._json_dict == there.summary._json_dict
    assert rows(world.target, B) == rows(world.source, A)
    assert {file.name: file.md5 for file in here.files()} == {file.name: file.md5 for file in there.files()}
    versions = [
        [(each.version, each.digest, each.logged_by().id) for each in run.logged_artifacts()]
        for run in (there, here)
    ]
    assert versions[0] == versions[1]
    assert len(versions[0]) >= 2
    assert _lines(world.target, B) == 10
    certificate = world.certificate()
    assert [run["run"] for run in certificate["runs"]] == [RUN]
    assert certificate["not_verified"] == []

    _, writes = world.migrate()
    assert writes == 0
