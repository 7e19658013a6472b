"""Copies on one server have nothing to do with each other, though client ids mean one thing on all of it."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sqlite3
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
import wandb
from wandb.sdk.artifacts.artifact_instance_cache import artifact_instance_cache

from engine import Engine, Options, open_destination, open_source
from engine.protocols import SystemOptions
from engine.sandbox import Account
from engine.transfer.ledger.ledger import LEDGER
from engine.transfer.options import Result
from engine.verify.findings import Findings
from engine.verify.verifier import Verifier
from engine.wandb import own_ids
from tests.e2e.planting import Spoiler
from tests.e2e.sdk_speaking import BORROWED, DRAWN
from tests.e2e.wandb_pair import A, B, Plug, api_of
from tests.servers import RunningSandbox, running_sandbox
from tests.wandb.conftest import run_sdk

TEAMS = tuple(f"copy-{number}" for number in range(20))
"""Entities at either server that nobody wrote to."""

RUNS = ((DRAWN, "draws"), (BORROWED, "borrows"))

_REFERENCE = re.compile(r"wandb-(client-)?artifact://([0-9a-zA-Z]+)(:latest)?/([^\"]*)")
_MAPPING = "query ($c: ID!) { clientIDMapping(clientID: $c) { serverID } }"
_LATEST = """query ($i: ID!) { artifactCollection(id: $i) { ... on ArtifactSequence {
    latestArtifact { id } } } }"""
_PROJECT = "query ($e: String!, $p: String!) { project(entityName: $e, name: $p) { id } }"
_DELETE = "mutation ($i: String!) { deleteModel(input: {id: $i}) { success } }"


@dataclass(frozen=True)
class Server:
    """A server, with what stands in front of it."""

    sandbox: RunningSandbox
    plug: Plug


@dataclass(frozen=True)
class Copies:
    """Where copies come from and go to."""

    source: RunningSandbox
    target: Server

    def engine(self, team: str, options: Options, at: RunningSandbox) -> Engine:
        return Engine(*self._sides(team, at), options)

    def _sides(self, team: str, at: RunningSandbox) -> tuple[Any, Any]:
        return (
            open_source(f"wandb:{self.source.url}/{A}", SystemOptions(api_key=self.source.api_key)),
            open_destination(f"wandb:{at.url}/{team}", SystemOptions(api_key=at.api_key)),
        )

    def move(self, team: str, state: Path, at: RunningSandbox | None = None, **options: Any) -> Result:
        async def run() -> Result:
            given = Options(state_dir=state, **options)
            async with self.engine(team, given, at or self.target.sandbox) as engine:
                return await engine.run()

        return anyio.run(run)

    def interrupt(self, team: str, state: Path, at: int, of: bytes) -> None:
        """Pull the plug at a request that says something."""

        async def run() -> bool:
            loop, plug = asyncio.get_running_loop(), self.target.plug
            with anyio.CancelScope() as scope:
                plug.arm(at, lambda: loop.call_soon_threadsafe(scope.cancel), of)
                async with self.engine(team, Options(state_dir=state), self.target.sandbox) as engine:
                    await engine.run()
            plug.arm(None)
            return scope.cancelled_caught

        assert anyio.run(run)

    def verify(self, team: str, at: RunningSandbox | None = None) -> Findings:
        return anyio.run(Verifier(*self._sides(team, at or self.target.sandbox)).run)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Generator[Copies]:
    plug = Plug()
    with (
        running_sandbox(tmp_path_factory.mktemp("a"), accounts=[Account(A, TEAMS)]) as source,
        running_sandbox(tmp_path_factory.mktemp("b"), accounts=[Account(B, TEAMS)], intercept=plug) as target,
    ):
        run_sdk("tests.e2e.sdk_speaking", source, tmp_path_factory.mktemp("sdk"))
        yield Copies(source, Server(target, plug))


def spoken(server: RunningSandbox, entity: str) -> list[tuple[str, str, Any]]:
    """What rows and summaries speak of, as the SDK reads them: project, version, and the table in it."""
    api, found = api_of(server), []
    for project, run_id in RUNS:
        run = api.run(f"{entity}/{project}/{run_id}")
        text = json.dumps([*run.scan_history(), run.summary._json_dict], sort_keys=True)
        for by_client, told, latest, path in _REFERENCE.findall(text):
            version = mapped(server, told) if by_client else base64.b64encode(bytes.fromhex(told)).decode()
            if latest:
                version = server.graphql(_LATEST, i=version)["artifactCollection"]["latestArtifact"]["id"]
            found.append((project, *read(api, version, path)))
    return found


def mapped(server: RunningSandbox, client_id: str) -> str:
    return str(server.graphql(_MAPPING, c=client_id)["clientIDMapping"]["serverID"])


def read(api: wandb.Api, version_id: str, path: str) -> tuple[str, Any]:
    """A table by the id of its version: whose it is, and what it holds."""
    # The SDK keeps artifacts by their ids, which are not those of one server only.
    artifact_instance_cache.clear()
    artifact = wandb.Artifact._from_id(version_id, api._service_api)
    assert artifact is not None
    table: Any = artifact.get(path.removesuffix(".table.json"))
    return f"{artifact.entity}/{artifact.project}/{artifact.name}", [str(row[0]) for row in table.data]


def expected(copies: Copies, entity: str) -> list[tuple[str, str, Any]]:
    """What a copy has to speak of: the same, and all of it its own."""
    return [
        (project, version.replace(f"{A}/", f"{entity}/", 1), data)
        for project, version, data in spoken(copies.source, A)
    ]


def delete(server: RunningSandbox, entity: str) -> None:
    for project in (DRAWN, BORROWED):
        server.graphql(_DELETE, i=server.graphql(_PROJECT, e=entity, p=project)["project"]["id"])


def test_the_source_speaks_of_versions_of_two_projects(copies: Copies) -> None:
    told = spoken(copies.source, A)
    assert {project for project, _, _ in told} == {DRAWN, BORROWED}
    versions = {(version, *data) for _, version, data in told}
    assert versions == {
        (f"{A}/{DRAWN}/run-draws-table:v0", "0"),
        (f"{A}/{DRAWN}/run-draws-table:v1", "1"),
        (f"{A}/{DRAWN}/tables:v0", "17"),
        (f"{A}/{BORROWED}/run-borrows-mine:v0", "1"),
    }


def test_a_second_copy_stands_when_the_first_is_deleted(copies: Copies, tmp_path: Path) -> None:
    server = copies.target.sandbox
    for team in TEAMS[:2]:
        assert copies.move(team, tmp_path / team).exit_status == 0
        assert spoken(server, team) == expected(copies, team)
    delete(server, TEAMS[0])
    assert spoken(server, TEAMS[1]) == expected(copies, TEAMS[1])
    assert copies.verify(TEAMS[1]).exit_status == 0
    before = server.counters()["writes"]
    assert copies.move(TEAMS[1], tmp_path / TEAMS[1]).exit_status == 0
    assert server.counters()["writes"] == before


def test_a_copy_on_the_server_of_its_source_speaks_of_itself(copies: Copies, tmp_path: Path) -> None:
    team = TEAMS[0]
    assert copies.move(team, tmp_path, copies.source).exit_status == 0
    assert spoken(copies.source, team) == expected(copies, team)
    assert copies.verify(team, copies.source).exit_status == 0


@pytest.mark.parametrize("at", range(1, 5))
def test_pulling_the_plug_changes_nothing(copies: Copies, tmp_path: Path, at: int) -> None:
    team = TEAMS[2 + at]
    copies.interrupt(team, tmp_path, at, b"createClientIDMapping(")
    assert copies.move(team, tmp_path).exit_status == 0
    assert spoken(copies.target.sandbox, team) == expected(copies, team)


def test_artifacts_may_come_in_a_later_transfer_than_the_runs(copies: Copies, tmp_path: Path) -> None:
    team = TEAMS[13]
    assert copies.move(team, tmp_path, artifacts=False).exit_status == 0
    assert copies.move(team, tmp_path, runs=False).exit_status == 0
    assert spoken(copies.target.sandbox, team) == expected(copies, team)


def test_two_engines_that_share_bring_the_same(copies: Copies, tmp_path: Path) -> None:
    team = TEAMS[10]

    async def both() -> list[Result]:
        results: list[Result] = []

        async def one() -> None:
            options = Options(state_dir=tmp_path, share=True)
            async with copies.engine(team, options, copies.target.sandbox) as engine:
                results.append(await engine.run())

        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(one)
        return results

    assert [result.failures for result in anyio.run(both)] == [[], []]
    assert spoken(copies.target.sandbox, team) == expected(copies, team)


# -- what earlier releases left


def as_earlier_releases(state: Path) -> None:
    """Leave of a ledger what releases kept in it that wrote rows as they were: ids at the server only."""
    with closing(sqlite3.connect(state / LEDGER)) as ledger, ledger:
        told = "json_extract(note, '$.server')"
        changed = ledger.execute(
            f"UPDATE item SET note = iif({told} IS NULL, 'null', json_quote({told})) WHERE kind = 'reference'"
        )
        assert changed.rowcount > 0


def test_a_copy_that_an_earlier_release_began_is_ended(
    copies: Copies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team, server = TEAMS[11], copies.target.sandbox
    with monkeypatch.context() as patched:
        patched.setattr(own_ids, "own_id", lambda client_id, _: client_id)
        # When the runs are there, and nothing that they speak of.
        copies.interrupt(team, tmp_path, 1, b"createArtifact(")
    as_earlier_releases(tmp_path)
    result = copies.move(team, tmp_path)
    assert result.exit_status == 0
    # Rows that are there are not written again, so that they speak by the ids of the source.
    assert ids(server, team) == ids(copies.source, A)
    assert spoken(server, team) == expected(copies, team)
    assert copies.verify(team).exit_status == 0


def ids(server: RunningSandbox, entity: str) -> set[str]:
    """The ids by which rows of a run speak."""
    rows = json.dumps([*api_of(server).run(f"{entity}/{DRAWN}/draws").scan_history()])
    return {match[1] for match in _REFERENCE.findall(rows)}


def test_an_id_that_means_nothing_is_found(copies: Copies, tmp_path: Path) -> None:
    team = TEAMS[12]
    assert copies.move(team, tmp_path / "state").exit_status == 0
    spoiler = Spoiler(copies.target.sandbox.data_dir)
    with spoiler.spoiling(tmp_path / "blobs"):
        spoiler.change(
            "UPDATE history SET row = replace(row, 'client-artifact://', 'client-artifact://0') WHERE run IN "
            "(SELECT r.number FROM runs r JOIN projects p ON p.number = r.project "
            "JOIN entities e ON e.number = p.entity WHERE e.name = ?)",
            team,
        )
        told = [(one.kind, one.part) for one in copies.verify(team).differences]
    assert ("changed", "history") in told
