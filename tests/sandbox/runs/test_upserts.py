"""``upsertBucket`` creates runs and changes only what it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.conftest import UPSERT, upsert
from tests.servers import RunningSandbox

NewRun = Callable[..., Any]


def test_the_first_upsert_creates_project_and_run(sandbox: RunningSandbox, project: str) -> None:
    answer = upsert(sandbox, modelName=project, name="r1", config='{"a": {"value": 1}}', tags=["x"])
    bucket = answer["bucket"]
    assert answer["inserted"]
    assert bucket["project"] == {"name": project, "entity": {"name": "ann"}}
    assert (bucket["name"], bucket["state"], bucket["historyLineCount"]) == ("r1", "running", 0)
    assert bucket["displayName"].count("-") == 2, "the server makes up a name"
    assert not upsert(sandbox, modelName=project, name="r1")["inserted"]


def test_without_a_project_and_an_id_the_server_chooses(sandbox: RunningSandbox) -> None:
    bucket = upsert(sandbox)["bucket"]
    assert bucket["project"]["name"] == "uncategorized"
    assert len(bucket["name"]) == 8


def test_null_leaves_a_field_and_an_empty_text_clears_it(sandbox: RunningSandbox, new_run: NewRun) -> None:
    run = new_run(
        name="r", notes="n", groupName="g", jobType="j", displayName="d", tags=["t"], config='{"a": {}}'
    )
    kept = upsert(sandbox, id=run["id"], notes=None, tags=None, config=None)["bucket"]
    assert (kept["notes"], kept["group"], kept["tags"], kept["config"]) == ("n", "g", ["t"], '{"a": {}}')
    cleared = upsert(sandbox, id=run["id"], notes="", groupName="", tags=[])["bucket"]
    assert (cleared["notes"], cleared["group"], cleared["tags"]) == (None, None, [])
    assert (cleared["displayName"], cleared["jobType"]) == ("d", "j")


def test_config_and_summary_are_replaced_as_a_whole(sandbox: RunningSandbox, new_run: NewRun) -> None:
    run = new_run(name="r", config='{"a": {"value": 1}}', summaryMetrics='{"x": 1}')
    changed = upsert(sandbox, id=run["id"], config='{"b": {"value": NaN}}', summaryMetrics='{"y": 2}')[
        "bucket"
    ]
    assert (changed["config"], changed["summaryMetrics"]) == ('{"b": {"value": NaN}}', '{"y": 2}')


def test_a_deleted_id_stays_burnt(sandbox: RunningSandbox, project: str, new_run: NewRun) -> None:
    run = new_run(name="once")
    sandbox.graphql("mutation($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }", id=run["id"])
    status, body = sandbox.ask(UPSERT, input={"modelName": project, "name": "once"})
    assert status == 409
    assert body["errors"][0]["message"] == "run once was previously created and deleted; try a new run name"
    assert sandbox.call("POST", f"/files/ann/{project}/once/file_stream", {})[0] == 404


def test_a_deleted_run_can_come_back(sandbox: RunningSandbox, project: str, new_run: NewRun) -> None:
    for name in ("a", "b"):
        new_run(name=name)
    where = {"e": "ann", "p": project, "f": '{"name": "a"}'}
    mutation = """mutation($e: String!, $p: String!, $f: JSONString!) {
        %s(input: {entityName: $e, projectName: $p, filters: $f}) { clientMutationId } }"""
    count = "query($p: String) { project(name: $p) { runCount } }"
    sandbox.graphql(mutation % "deleteRuns", **where)
    assert sandbox.graphql(count, p=project)["project"]["runCount"] == 1
    sandbox.graphql(mutation % "undeleteRuns", **where)
    assert sandbox.graphql(count, p=project)["project"]["runCount"] == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "a/b"},
        {"name": "a:b"},
        {"name": " a"},
        {"name": "x" * 129},
        {"modelName": "a/b"},
        {"modelName": "x" * 129},
        {"tags": [""]},
        {"tags": ["x" * 65]},
        {"config": "[]"},
        {"summaryMetrics": "3"},
        {"state": "dreaming"},
    ],
)
def test_what_wandb_does_not_take_is_refused(sandbox: RunningSandbox, fields: dict[str, Any]) -> None:
    assert sandbox.ask(UPSERT, input=fields)[0] == 400


RESUME = """query($p: String, $n: String!) { model(name: $p, entityName: "ann") { id name entity { id name }
    bucket(name: $n, missingOk: true) { id name summaryMetrics displayName logLineCount historyLineCount
        eventsLineCount historyTail eventsTail config tags notes wandbConfig(keys: ["t"]) } } }"""


def test_an_absent_run_is_null_where_missing_is_ok_and_an_error_elsewhere(
    sandbox: RunningSandbox, project: str, new_run: NewRun
) -> None:
    new_run(name="there")
    assert sandbox.graphql(RESUME, p=project, n="absent")["model"]["bucket"] is None
    assert sandbox.graphql(RESUME, p="no-such-project", n="absent")["model"] is None
    status, body = sandbox.ask(
        'query($p: String) { project(name: $p) { run(name: "absent") { id } } }', p=project
    )
    assert status == 404
    assert body["errors"][0]["message"] == f"could not find run ann/{project}/absent during fetch"


def test_resume_gets_every_field_that_it_needs(
    sandbox: RunningSandbox, project: str, new_run: NewRun
) -> None:
    new_run(name="r", config='{"_wandb": {"value": {"t": {"3": [1]}, "m": []}}, "a": {"value": 1}}')
    sandbox.call(
        "POST",
        f"/files/ann/{project}/r/file_stream",
        {
            "files": {
                "wandb-history.jsonl": {"offset": 0, "content": ['{"_step": 0}', '{"_step": 7, "x": NaN}']},
                "wandb-events.jsonl": {"offset": 0, "content": ['{"_runtime": 3}']},
                "output.log": {"offset": 0, "content": ["a", "b", "c"]},
                "wandb-summary.json": {"offset": 0, "content": ['{"x": 1}']},
            }
        },
    )
    bucket = sandbox.graphql(RESUME, p=project, n="r")["model"]["bucket"]
    assert (bucket["historyLineCount"], bucket["eventsLineCount"], bucket["logLineCount"]) == (2, 1, 3)
    assert bucket["historyTail"] == '["{\\"_step\\": 0}", "{\\"_step\\": 7, \\"x\\": NaN}"]'
    assert bucket["eventsTail"] == '["{\\"_runtime\\": 3}"]'
    assert bucket["wandbConfig"] == '{"t": {"3": [1]}}'
    assert bucket["summaryMetrics"] == '{"x": 1}'


def test_tags_of_many_runs_change_at_once(sandbox: RunningSandbox, project: str, new_run: NewRun) -> None:
    for name, tags in (("a", ["old"]), ("b", ["old", "new"]), ("c", ["other"])):
        new_run(name=name, tags=tags)
    changed = sandbox.graphql(
        """mutation($p: String) { modifyRuns(input: {entityName: "ann", projectName: $p,
            filters: "{\\"tags\\": \\"old\\"}", addTags: ["new"], removeTags: ["old"]}) {
                runs { name tags } } }""",
        p=project,
    )
    assert changed["modifyRuns"]["runs"] == [{"name": "a", "tags": ["new"]}, {"name": "b", "tags": ["new"]}]


def test_rewinding_forgets_later_rows(sandbox: RunningSandbox, project: str, new_run: NewRun) -> None:
    new_run(name="r")
    rows = [f'{{"_step": {step}, "x": {step}}}' for step in range(10)]
    path = f"/files/ann/{project}/r/file_stream"
    sandbox.call("POST", path, {"files": {"wandb-history.jsonl": {"offset": 0, "content": rows}}})
    rewound = sandbox.graphql(
        """mutation($p: String) { rewindRun(input: {projectName: $p, runName: "r", metricName: "_step",
            metricValue: 4}) { rewoundRun { historyLineCount historyKeys } } }""",
        p=project,
    )["rewindRun"]["rewoundRun"]
    assert rewound["historyLineCount"] == 5
    assert rewound["historyKeys"]["lastStep"] == 4
    assert rewound["historyKeys"]["keys"]["x"]["typeCounts"] == [{"type": "number", "count": 5}]
