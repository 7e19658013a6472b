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


def transfer(
    source: RunningSandbox, destination: RunningSandbox, project: str = "", target: str = ""
) -> Result:
    async def run() -> Result:
        engine = Engine(
            open_source(f"wandb:{source.url}/{ENTITY}/{project}", SystemOptions(api_key=source.api_key)),
            open_destination(
                f"wandb:{destination.url}/{ELSEWHERE}/{target}", SystemOptions(api_key=destination.api_key)
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


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningSandbox]:
    """A server to which single projects are copied."""
    with running_sandbox(tmp_path_factory.mktemp("copies"), accounts=[Account(ELSEWHERE)]) as running:
        yield running


def copied_to(server: RunningSandbox, project: str, run: str) -> dict[str, Any]:
    """What may change of a run, as the server has it."""
    found: dict[str, Any] = server.graphql(
        """query Changed($e: String!, $p: String!, $r: String!) { project(name: $p, entityName: $e) {
        description run(name: $r) { state exitcode group jobType notes tags historyLineCount
        config history(samples: 100000) } } }""",
        e=ELSEWHERE,
        p=project,
        r=run,
    )["project"]
    run_found = found.pop("run")
    rows = [json.loads(row) for row in run_found.pop("history")]
    return {**found, **run_found, "rows": rows}


def test_a_project_that_goes_to_one_of_another_name_brings_no_group(
    sandbox: RunningSandbox, copies: RunningSandbox
) -> None:
    """W&B's runs have groups of their own, so that what an experiment of MLflow becomes is not for them."""
    sandbox.graphql(
        """mutation P($e: String!, $p: String!, $d: String) {
        upsertModel(input: {entityName: $e, name: $p, description: $d}) { inserted } }""",
        e=ENTITY,
        p="plain",
        d="# What it is",
    )
    raw.finished(sandbox, "plain", "alone", rows_at(range(2)))
    raw.upsert(sandbox, "plain", "grouped", groupName="own")
    raw.stream(sandbox, "plain", "grouped", complete=True, exitcode=0)
    result = transfer(sandbox, copies, "plain", "of-another-name")
    assert not result.failures
    assert not result.losses
    assert copied_to(copies, "of-another-name", "alone")["group"] is None
    assert copied_to(copies, "of-another-name", "grouped")["group"] == "own"
    assert copied_to(copies, "of-another-name", "alone")["description"].startswith("# What it is\n")


def test_what_was_emptied_at_the_source_is_emptied(sandbox: RunningSandbox, copies: RunningSandbox) -> None:
    fields = {"notes": "# old", "groupName": "pairs", "jobType": "train"}
    raw.upsert(sandbox, "emptied", "r", **fields, tags=["a"])
    raw.stream(sandbox, "emptied", "r", rows_at(range(2)), complete=True, exitcode=0)
    assert not transfer(sandbox, copies, "emptied").failures
    found = copied_to(copies, "emptied", "r")
    assert (found["notes"], found["group"], found["jobType"], found["tags"]) == (
        "# old",
        "pairs",
        "train",
        ["a"],
    )
    raw.upsert(sandbox, "emptied", "r", **dict.fromkeys(fields, ""), tags=[])
    assert not transfer(sandbox, copies, "emptied").failures
    found = copied_to(copies, "emptied", "r")
    assert not any(found[name] for name in ("notes", "group", "jobType", "tags"))


REWIND = """mutation Rewind($e: String!, $p: String!, $s: Float!) { rewindRun(input: {
    entityName: $e, projectName: $p, runName: "r", metricName: "_step", metricValue: $s
    }) { rewoundRun { historyLineCount } } }"""


@pytest.mark.parametrize("more", [0, 2, 40])
def test_a_run_that_was_rewound_has_the_rows_that_it_has_now(
    sandbox: RunningSandbox, copies: RunningSandbox, more: int
) -> None:
    project = f"rewound-{more}"
    raw.finished(sandbox, project, "r", rows_at(range(20)))
    assert not transfer(sandbox, copies, project).failures
    sandbox.graphql(REWIND, e=ENTITY, p=project, s=9)
    rows = [{"_step": step, "x": -1, "_timestamp": 2e9} for step in range(10, 10 + more)]
    raw.stream(sandbox, project, "r", rows, offset=10, complete=True, exitcode=3)
    assert not transfer(sandbox, copies, project).failures
    found = copied_to(copies, project, "r")
    assert found["rows"] == [*rows_at(range(10)), *rows]
    assert (found["historyLineCount"], found["state"], found["exitcode"]) == (10 + more, "failed", 3)


def test_rows_that_no_rewinding_drops_fail_the_history(
    sandbox: RunningSandbox, copies: RunningSandbox
) -> None:
    """The run went on at a step beyond those that are left of its first life."""
    project = "rewound-far"
    raw.finished(sandbox, project, "r", rows_at(range(20)))
    assert not transfer(sandbox, copies, project).failures
    sandbox.graphql(REWIND, e=ENTITY, p=project, s=9)
    raw.stream(sandbox, project, "r", [{"_step": 500, "x": 1}], offset=10, complete=True, exitcode=0)
    (failure,) = transfer(sandbox, copies, project).failures
    assert "9 rows are left of an earlier transfer" in failure.message


def test_numbers_in_a_config_that_are_not_finite_stay_as_the_sdk_wrote_them(
    sandbox: RunningSandbox, copies: RunningSandbox
) -> None:
    low = [-math.inf, math.nan, None]
    config: dict[str, Any] = {"high": {"value": math.inf}, "deep": {"value": {"low": low}}}
    raw.upsert(sandbox, "infinite", "r", config=json.dumps(config))
    raw.stream(sandbox, "infinite", "r", complete=True, exitcode=0)
    result = transfer(sandbox, copies, "infinite")
    assert not result.failures
    assert not result.losses
    found = json.loads(copied_to(copies, "infinite", "r")["config"])
    assert {key: comparable(found[key]["value"]) for key in config} == {
        key: comparable(entry["value"]) for key, entry in config.items()
    }


def test_labels_of_console_lines_that_the_server_cannot_take_are_told(
    sandbox: RunningSandbox, copies: RunningSandbox
) -> None:
    """The sandbox takes lines as text alone, as older servers do, though it reads others."""
    lines = [
        json.dumps({"level": "error", "ts": "2026-01-01T00:00:00.000001", "content": "a", "label": "rank-1"}),
        json.dumps({"level": "warn", "ts": "2026-01-01T00:00:00.000002", "content": "b"}),
        "ERROR 2026-01-01T00:00:00.000003 c",
        "d",
    ]
    raw.upsert(sandbox, "labelled", "r")
    raw.stream(sandbox, "labelled", "r", files={"output.log": lines}, complete=True, exitcode=0)
    result = transfer(sandbox, copies, "labelled")
    assert not result.failures
    assert result.losses == {"console_label_dropped": 2}
    found = [edge["node"] for edge in streams(copies, ELSEWHERE, "labelled", "r")["logLines"]["edges"]]
    assert [(line["level"], line["line"]) for line in found] == [
        ("error", "a"),
        (None, "b"),
        ("error", "c"),
        (None, "d"),
    ]
