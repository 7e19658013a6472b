"""A sandbox starts, stops, remembers, counts and shows."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import web

from engine.sandbox import Account, Sandbox, serve
from engine.sandbox.storage.objects import Handler
from tests.sandbox.conftest import upsert
from tests.servers import running_sandbox, send

FILES = """mutation($p: String!, $f: [String!]!) { createRunFiles(input: {entityName: "rehearsal",
    projectName: $p, runName: "r", files: $f}) { files { name uploadUrl } } }"""
LIST = """query($p: String) { project(name: $p) { run(name: "r") {
    fileCount historyLineCount config
    files(names: ["a/b.txt", "missing"]) { edges { node {
        name sizeBytes md5 updatedAt directUrl } } } } } }"""


def test_state_survives_a_restart(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as first:
        upsert(first, modelName="p", name="r", config='{"a": {"value": 1}}')
        rows = {"files": {"wandb-history.jsonl": {"offset": 0, "content": ['{"_step": 0}']}}}
        assert first.call("POST", "/files/rehearsal/p/r/file_stream", rows)[0] == 200
        (file,) = first.graphql(FILES, p="p", f=["a/b.txt"])["createRunFiles"]["files"]
        assert send("PUT", file["uploadUrl"], b"content")[0] == 200
    with running_sandbox(tmp_path) as second:
        assert second.api_key == first.api_key
        run = second.graphql(LIST, p="p")["project"]["run"]
        assert (run["fileCount"], run["historyLineCount"], run["config"]) == (1, 1, '{"a": {"value": 1}}')
        there, missing = (edge["node"] for edge in run["files"]["edges"])
        if there["name"] == "missing":
            there, missing = missing, there
        assert (there["sizeBytes"], there["md5"]) == (7, "mgNkuembtIDdJeHwKEyFVQ==")
        assert (missing["sizeBytes"], missing["updatedAt"]) == (0, None)
        assert send("GET", there["directUrl"]) == (200, b"content")


def test_stopping_leaves_one_consistent_file(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as sandbox:
        upsert(sandbox, modelName="p", name="r")
    assert not (tmp_path / "records.sqlite-wal").exists()
    with closing(sqlite3.connect(tmp_path / "records.sqlite")) as records:
        assert records.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_layout_of_another_version_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "records.sqlite")) as records:
        records.execute("PRAGMA user_version = 99")
    with pytest.raises(RuntimeError, match="layout 99"), running_sandbox(tmp_path):
        pass


def test_a_port_in_use_is_reported_and_nothing_stays_open(tmp_path: Path) -> None:
    with running_sandbox(tmp_path / "a") as first:
        port = int(first.url.rpartition(":")[2])
        with (
            pytest.raises(OSError, match="address already in use"),
            running_sandbox(tmp_path / "b", port=port),
        ):
            pass


def test_two_users_cannot_have_one_key(tmp_path: Path) -> None:
    both = [Account("a", api_key="k" * 40), Account("b", api_key="k" * 40)]
    with (
        pytest.raises(ValueError, match="a and b have the same API key"),
        running_sandbox(tmp_path, accounts=both),
    ):
        pass


@pytest.mark.anyio
async def test_serve_runs_until_it_is_cancelled(tmp_path: Path) -> None:
    started: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(tmp_path, started=started.set_result))
    sandbox = await started
    status, _ = await asyncio.to_thread(send, "GET", sandbox.url + "/")
    assert (status, sandbox.entity) == (200, "rehearsal")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(send, "GET", sandbox.url + "/")


def test_counters_tell_reads_from_writes(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as sandbox:
        sandbox.graphql("{ viewer { id } again: viewer { id } models { edges { cursor } } }")
        counted = sandbox.counters()
        assert (counted["reads"], counted["writes"]) == (3, 0)
        assert counted["graphql Query.viewer"] == 2
        upsert(sandbox, modelName="p", name="r")
        sandbox.call("POST", "/files/rehearsal/p/r/file_stream", {})
        (file,) = sandbox.graphql(FILES, p="p", f=["a"])["createRunFiles"]["files"]
        send("PUT", file["uploadUrl"], b"x")
        counted = sandbox.counters()
        assert counted["writes"] == 4
        assert counted["graphql Mutation.upsertBucket"] == 1
        assert counted["object PUT"] == 1
        assert counted["POST /files/{entity}/{project}/{run}/file_stream"] == 1


@pytest.mark.anyio
async def test_an_intercept_may_answer_in_the_servers_stead(tmp_path: Path) -> None:
    async def throttle(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/graphql":
            return web.Response(status=429, headers={"Retry-After": "1"})
        return await handler(request)

    async with Sandbox(tmp_path, intercept=throttle) as sandbox:
        assert (await asyncio.to_thread(send, "POST", sandbox.url + "/graphql", b"{}"))[0] == 429
        assert (await asyncio.to_thread(send, "GET", sandbox.url + "/"))[0] == 200
        sandbox.intercept = None
        assert (await asyncio.to_thread(send, "POST", sandbox.url + "/graphql", b"{}"))[0] == 401
