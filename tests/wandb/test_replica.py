"""Runs of one W&B server on another: read on both sides by the official SDK, they are the same."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import anyio
import pytest

from engine import Engine, Options, open_destination, open_source
from engine.protocols import SystemOptions
from engine.sandbox import Account
from engine.transfer.options import Result
from tests.sdk_reader import SdkReader, SdkRun
from tests.servers import RunningSandbox, running_sandbox
from tests.wandb.conftest import ENTITY

ELSEWHERE = "colleagues"
PROJECTS = ("trained", "other")

Runs = dict[str, SdkRun]

_STREAMS = """query Streams($entity: String!, $project: String!, $run: String!) {
  project(name: $project, entityName: $entity) { run(name: $run) {
    exitcode events(samples: 100000) historyLineCount config notes description
    logLines(first: 1000) { edges { node { number timestamp level line } } } } } }"""


def comparable(value: Any) -> str:
    """JSON whose keys are in order, in which NaN equals NaN and 1 is not 1.0."""
    return json.dumps(value, sort_keys=True)


def streams(server: RunningSandbox, entity: str, project: str, run: str) -> dict[str, Any]:
    found: dict[str, Any] = server.graphql(_STREAMS, entity=entity, project=project, run=run)["project"][
        "run"
    ]
    return found


def transfer(source: RunningSandbox, destination: RunningSandbox) -> Result:
    async def run() -> Result:
        engine = Engine(
            open_source(f"wandb:{source.url}/{ENTITY}", SystemOptions(api_key=source.api_key)),
            open_destination(
                f"wandb:{destination.url}/{ELSEWHERE}", SystemOptions(api_key=destination.api_key)
            ),
            Options(),
        )
        async with engine:
            return await engine.run()

    return anyio.run(run)


@pytest.fixture(scope="module")
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("other"), accounts=[Account(ELSEWHERE)]) as running:
        yield running


@pytest.fixture(scope="module")
def moved(filled: RunningSandbox, other_server: RunningSandbox) -> Result:
    return transfer(filled, other_server)


@pytest.fixture(scope="module")
def both(
    filled: RunningSandbox,
    other_server: RunningSandbox,
    moved: Result,
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[tuple[Runs, Runs]]:
    """The runs of both servers by id."""
    assert not moved.failures, moved.failures
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("WANDB_SILENT", "true")
        sides = []
        for server, entity in ((filled, ENTITY), (other_server, ELSEWHERE)):
            reader = SdkReader(server.url, server.api_key)
            sides.append(
                {id_: run for project in PROJECTS for id_, run in reader.project(entity, project).items()}
            )
        yield sides[0], sides[1]


def test_every_run_arrives_once_under_its_id(both: tuple[Runs, Runs]) -> None:
    here, there = both
    assert here.keys() == there.keys() >= {"everything", "failed", "empty", "long", "resumed"}


def test_rows_are_equal_to_the_last_key(both: tuple[Runs, Runs]) -> None:
    here, there = both
    for id_, run in here.items():
        assert [comparable(row) for row in there[id_].rows] == [comparable(row) for row in run.rows], id_
    assert len(here["long"].rows) == 1_300


def test_nothing_of_a_run_changes_but_the_provenance_in_its_config(both: tuple[Runs, Runs]) -> None:
    here, there = both
    for id_, run in here.items():
        copy = there[id_]
        for name in ("name", "state", "group", "job_type", "notes", "tags", "metadata", "files"):
            assert getattr(copy, name) == getattr(run, name), (id_, name)
        assert comparable(copy.summary) == comparable(run.summary)
        assert {key: value for key, value in copy.config.items() if key != "_import"} == run.config
        assert copy.provenance["user"] == ENTITY
        assert copy.provenance["url"].endswith(f"/runs/{id_}")


def test_the_block_of_the_client_in_the_config_is_the_same(
    filled: RunningSandbox, other_server: RunningSandbox, moved: Result
) -> None:
    """It has ``define_metric``, custom charts, masks and the environments of all writers."""
    here = json.loads(streams(filled, ENTITY, "trained", "everything")["config"])
    there = json.loads(streams(other_server, ELSEWHERE, "trained", "everything")["config"])
    assert there["_wandb"] == here["_wandb"]
    assert here["_wandb"]["value"]["m"]


def test_system_metrics_console_and_exit_code_are_the_same(
    filled: RunningSandbox, other_server: RunningSandbox, moved: Result
) -> None:
    for project, run in (("trained", "everything"), ("trained", "failed"), ("other", "long")):
        here = streams(filled, ENTITY, project, run)
        there = streams(other_server, ELSEWHERE, project, run)
        assert [json.loads(row) for row in there["events"]] == [json.loads(row) for row in here["events"]]
        assert there["logLines"] == here["logLines"]
        assert there["exitcode"] == here["exitcode"]
    everything = streams(filled, ENTITY, "trained", "everything")
    assert everything["events"]
    assert [edge["node"]["level"] for edge in everything["logLines"]["edges"]] == [None, "error"]


def test_a_second_transfer_changes_nothing(
    filled: RunningSandbox, other_server: RunningSandbox, both: tuple[Runs, Runs]
) -> None:
    def state() -> dict[str, Any]:
        return {
            id_: streams(other_server, ELSEWHERE, project, id_)
            for project, id_ in (("trained", "everything"), ("other", "long"))
        }

    before = state()
    assert not transfer(filled, other_server).failures
    assert state() == before
