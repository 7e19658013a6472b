"""Runs of one W&B server on another: read on both sides by the official SDK, they are the same."""

from __future__ import annotations

import json
import math
from collections.abc import Generator
from typing import Any

import anyio
import pytest

from engine import Engine, Options, open_destination, open_source
from engine.protocols import SystemOptions
from engine.sandbox import Account
from engine.transfer.options import Result
from tests.sdk_reader import SdkReader, SdkRun, comparable
from tests.servers import RunningSandbox, running_sandbox
from tests.wandb import raw
from tests.wandb.conftest import ENTITY
from tests.wandb.reading.test_histories import rows_at

ELSEWHERE = "colleagues"
PROJECTS = ("trained", "other")

Runs = dict[str, SdkRun]

_STREAMS = """query Streams($entity: String!, $project: String!, $run: String!) {
  project(name: $project, entityName: $entity) { run(name: $run) {
    exitcode events(samples: 100000) historyLineCount config notes description
    logLines(first: 1000) { edges { node { number timestamp level line } } } } } }"""


def streams(server: RunningSandbox, entity: str, project: str, run: str) -> dict[str, Any]:
    found: dict[str, Any] = server.graphql(_STREAMS, entity=entity, project=project, run=run)["project"][
        "run"
    ]
    return found


def copied(server: RunningSandbox, project: str, run: str) -> dict[str, Any]:
    """A run as the server has it, also where no client could make sense of it."""
    found: dict[str, Any] = server.graphql(
        """query Copied($e: String!, $p: String!, $r: String!) { project(name: $p, entityName: $e) {
        run(name: $r) { state exitcode displayName config summaryMetrics history(samples: 100000) } } }""",
        e=ELSEWHERE,
        p=project,
        r=run,
    )["project"]["run"]
    return {
        **found,
        "config": json.loads(found["config"]),
        "summary": json.loads(found["summaryMetrics"] or "{}"),
        "rows": [json.loads(row) for row in found["history"]],
    }


def transfer(source: RunningSandbox, destination: RunningSandbox, project: str = "") -> Result:
    async def run() -> Result:
        engine = Engine(
            open_source(f"wandb:{source.url}/{ENTITY}/{project}", SystemOptions(api_key=source.api_key)),
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


def test_runs_that_no_sdk_would_write_arrive_as_they_are(
    sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Rows that share a step or have none, values that are not finite, and a config of every kind."""
    project = "odd"
    rows: list[dict[str, Any]] = [
        {"_step": 4, "x": math.nan, "nested": {"y": -math.inf}},
        {"_step": 4, "x": 2, "mlflow/step": 7},
        {"_step": 2, "back": None},
        {"x": "no step", "_timestamp": 1.5},
        {"_step": 9, "": 0, "_custom": 1},
    ]
    config: dict[str, Any] = {
        "lr": {"value": 0.1, "desc": "how fast"},
        "imported_wandb_tags": {"value": {"a": "b"}},
        "_wandb": {"value": {"t": {"3": [1]}, "mask/class_labels": {"x": 1}}},
        "_import": {"value": {"source": "mlflow:somewhere", "run_id": "first"}},
        "wandb_version": 1,
    }
    raw.upsert(sandbox, project, "odd", config=json.dumps(config), displayName="  spaces  ")
    summary = {"x": math.nan, "only": "here", "_wandb": {"runtime": 3}}
    raw.stream(
        sandbox,
        project,
        "odd",
        rows,
        files={"wandb-summary.json": [json.dumps(summary)]},
        complete=True,
        exitcode=-9,
    )
    raw.upsert(sandbox, project, "summed", summaryMetrics='{"x": 1}')
    raw.stream(sandbox, project, "summed", complete=True, exitcode=0)
    raw.upsert(sandbox, project, "running")
    raw.stream(sandbox, project, "running", rows_at(range(3)))
    raw.upsert(sandbox, project, "announced", state="pending")
    raw.upsert(sandbox, project, "summed", sweep=raw.new_sweep(sandbox, project))
    raw.finished(sandbox, project, "exported", rows_at(range(2_500)))
    assert raw.export_history(sandbox, project, "exported", 700) == 4
    raw.finished(sandbox, project, "gone", rows_at(range(3)))
    sandbox.graphql(
        """mutation Delete($e: String!, $p: String!, $f: JSONString!) {
        deleteRuns(input: {entityName: $e, projectName: $p, filters: $f}) { clientMutationId } }""",
        e=ENTITY,
        p=project,
        f='{"name": "gone"}',
    )
    with running_sandbox(tmp_path_factory.mktemp("odd"), accounts=[Account(ELSEWHERE)]) as there:
        result = transfer(sandbox, there, project)
        assert not result.failures
        assert result.runs_done == 5
        assert (result.losses["sweep_finished"], result.losses["sweep_dropped"]) == (1, 0)
        read = {
            run: copied(there, project, run) for run in ("odd", "summed", "running", "announced", "exported")
        }
    odd = read["odd"]
    # By step, as every reader of W&B has them; what has none stays behind the row before it.
    assert comparable(odd["rows"]) == comparable([rows[n] for n in (2, 3, 0, 1, 4)])
    assert comparable(odd["summary"]) == comparable(summary)
    assert {key: value for key, value in odd["config"].items() if key != "_import"} == {
        key: value for key, value in config.items() if key != "_import"
    }
    assert odd["config"]["_import"]["value"]["origin"] == config["_import"]["value"]
    assert (odd["state"], odd["exitcode"], odd["displayName"]) == ("failed", -9, "  spaces  ")
    assert read["summed"]["config"]["_import"]["value"]["sweep"]
    assert (read["summed"]["summary"], read["summed"]["rows"]) == ({"x": 1}, [])
    assert (read["running"]["state"], len(read["running"]["rows"])) == ("running", 3)
    assert read["announced"]["state"] == "pending"
    assert comparable(read["exported"]["rows"]) == comparable(rows_at(range(2_500)))
