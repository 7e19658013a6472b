"""The filestream stores lines by number, so that whatever is sent again changes nothing."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from tests.sandbox.conftest import upsert
from tests.servers import RunningSandbox, send

Post = Callable[..., tuple[int, Any]]

READ = """query($p: String) { project(name: $p) { run(name: "r") { state exitcode historyLineCount historyKeys
    summaryMetrics history(samples: 100) events(samples: 100)
    logLines { edges { node { line number } } } } } }"""


@pytest.fixture
def post(sandbox: RunningSandbox, project: str) -> Post:
    upsert(sandbox, modelName=project, name="r")
    return lambda body: sandbox.call("POST", f"/files/ann/{project}/r/file_stream", body)


@pytest.fixture
def read(sandbox: RunningSandbox, project: str) -> Callable[[], Any]:
    return lambda: sandbox.graphql(READ, p=project)["project"]["run"]


def history(offset: int, *rows: Any) -> dict[str, Any]:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return {"files": {"wandb-history.jsonl": {"offset": offset, "content": lines}}}


def test_a_request_that_is_sent_twice_counts_once(post: Post, read: Callable[[], Any]) -> None:
    for _ in range(3):
        assert post(history(0, {"_step": 0, "x": 1}, {"_step": 1, "x": 2}))[0] == 200
    run = read()
    assert run["history"] == ['{"_step": 0, "x": 1}', '{"_step": 1, "x": 2}']
    assert run["historyKeys"]["keys"]["x"]["typeCounts"] == [{"type": "number", "count": 2}]


def test_lines_are_replaced_by_number_not_by_step(post: Post, read: Callable[[], Any]) -> None:
    post(history(0, {"_step": 5, "x": 1}, {"_step": 9, "x": "text"}))
    post(history(1, {"_step": 30, "x": 3}, {"_step": 40, "y": {"z": None}}))
    run = read()
    assert run["historyLineCount"] == 3
    assert [json.loads(row)["_step"] for row in run["history"]] == [5, 30, 40]
    assert run["historyKeys"]["lastStep"] == 40
    kinds = {key: entry["typeCounts"] for key, entry in run["historyKeys"]["keys"].items()}
    assert kinds["x"] == [{"type": "number", "count": 2}]
    assert kinds["y"] == [{"type": "map", "count": 1}]
    assert kinds["y.z"] == [{"type": "nil", "count": 1}]


def test_the_last_summary_line_is_the_summary(post: Post, read: Callable[[], Any]) -> None:
    post({"files": {"wandb-summary.json": {"offset": 0, "content": ['{"a": 1}', '{"b": NaN}']}}})
    assert read()["summaryMetrics"] == '{"b": NaN}'


def test_console_lines_are_rewritten_in_place(post: Post, read: Callable[[], Any]) -> None:
    post(
        {
            "files": {
                "output.log": {
                    "offset": 0,
                    "content": ["2026-01-01T00:00:00.1 10%", "2026-01-01T00:00:01.2 end"],
                }
            }
        }
    )
    post({"files": {"output.log": [{"offset": 0, "content": ["2026-01-01T00:00:02.3 100%"]}]}})
    assert [edge["node"]["line"] for edge in read()["logLines"]["edges"]] == ["100%", "end"]


def test_gzip_bodies_are_taken(
    sandbox: RunningSandbox, project: str, post: Post, read: Callable[[], Any]
) -> None:
    basic = base64.b64encode(f"api:{sandbox.api_key}".encode()).decode()
    status, _ = send(
        "POST",
        f"{sandbox.url}/files/ann/{project}/r/file_stream",
        gzip.compress(json.dumps(history(0, {"_step": 0})).encode()),
        {"Authorization": f"Basic {basic}", "Content-Encoding": "gzip", "Content-Type": "application/json"},
    )
    assert status == 200
    assert read()["historyLineCount"] == 1


@pytest.mark.parametrize(
    ("last", "state"),
    [
        ({"complete": True, "exitcode": 0}, "finished"),
        ({"complete": True, "exitcode": 1}, "failed"),
        ({"complete": True, "failed": True, "dropped": 0}, "failed"),
        ({"complete": False, "failed": False}, "running"),
        ({"preempting": True}, "preempting"),
        ({}, "running"),
    ],
)
def test_the_state_follows_from_what_the_stream_says(
    post: Post, read: Callable[[], Any], last: dict[str, Any], state: str
) -> None:
    assert post(last)[0] == 200
    assert read()["state"] == state


def test_a_heartbeat_does_not_wake_a_finished_run(post: Post, read: Callable[[], Any]) -> None:
    post({"complete": True, "exitcode": 0})
    post({})
    assert (read()["state"], read()["exitcode"]) == ("finished", 0)


def test_a_silent_run_has_crashed(
    sandbox: RunningSandbox, post: Post, read: Callable[[], Any], project: str
) -> None:
    post({})
    with closing(sqlite3.connect(sandbox.data_dir / "records.sqlite")) as records, records:
        records.execute(
            """UPDATE runs SET heartbeat = heartbeat - 301000
            WHERE project = (SELECT number FROM projects WHERE name = ?)""",
            (project,),
        )
    assert read()["state"] == "crashed"
    post({})
    assert read()["state"] == "running"


def test_a_stop_request_reaches_the_writer(
    sandbox: RunningSandbox, project: str, post: Post, read: Callable[[], Any]
) -> None:
    id_ = upsert(sandbox, modelName=project, name="r")["bucket"]["id"]
    assert post({})[1]["stopped"] is False
    sandbox.graphql("mutation($id: ID!) { stopRun(input: {id: $id}) { success } }", id=id_)
    assert post({})[1]["stopped"] is True
    post({"complete": True, "exitcode": 255})
    assert read()["state"] == "killed"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        history(0, "not json"),
        history(0, "[1]"),
        history(0, '{"x": ' + "1" * 10_383_360 + "}"),
        history(-1, {"_step": 0}),
        {"files": {"wandb-history.jsonl": {"offset": "0", "content": []}}},
        {"files": {"wandb-history.jsonl": {"offset": 0, "content": [{"_step": 0}]}}},
        {"files": {"wandb-history.jsonl": {"offset": 0}}},
        {"files": {"wandb-events.jsonl": {"offset": 0, "content": ["no"]}}},
        {"files": {"wandb-summary.json": {"offset": 0, "content": ["no"]}}},
        {"files": {"other.txt": {"offset": 0, "content": ["x"]}}},
        {"files": []},
        {"uploaded": "config.yaml"},
        {"uploaded": ["../x"]},
        {"complete": True, "exitcode": "0"},
        [],
    ],
    ids=lambda body: str(body)[:60],
)
def test_a_bad_request_stores_nothing(post: Post, read: Callable[[], Any], body: Any) -> None:
    if body == b"":
        assert post(body)[0] == 200, "nothing at all is a heartbeat"
        return
    if isinstance(body, dict) and "files" in body and isinstance(body["files"], dict):
        body = {**body, "files": {"output.log": {"offset": 0, "content": ["before"]}, **body["files"]}}
    assert post(body)[0] == 400
    run = read()
    assert run["historyLineCount"] == 0
    assert run["logLines"]["edges"] == []


@pytest.mark.parametrize("path", ["ann/no-such-project/r", "nobody/p/r", "ann/uncategorized/no-such-run"])
def test_an_unknown_run_is_not_found(sandbox: RunningSandbox, path: str) -> None:
    upsert(sandbox, name="exists")
    assert sandbox.call("POST", f"/files/{path}/file_stream", {})[0] == 404
