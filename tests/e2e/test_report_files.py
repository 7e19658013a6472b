"""Files that people uploaded into a report follow it, though a report has no files of its own."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

import engine.sync
from engine import Options, open_destination, open_source
from engine.protocols import SystemOptions
from engine.sandbox import Account
from engine.verify.verifier import Verifier, VerifyOptions
from tests.e2e.wandb_pair import A, B, Pair, Plug
from tests.servers import RunningSandbox, running_sandbox, send

PROJECT = "drawn"
FILE = """query ($e: String!, $p: String!, $r: String!, $n: [String!]) { project(entityName: $e, name: $p) {
    run(name: $r) { files(names: $n) { edges { node { directUrl } } } } } }"""
VIEWS = """query ($e: String!, $p: String!) { project(entityName: $e, name: $p) {
    allViews(viewType: "runs") { edges { node { spec } } } } }"""
RUNS = """query ($e: String!, $p: String!) { project(entityName: $e, name: $p) {
    runs { edges { node { state } } } } }"""
RUN = 'mutation ($p: String) { upsertBucket(input: {name: "r", modelName: $p}) { inserted } }'
PICTURES = {f"/files/{A}/images/projects/7/{name}": name.encode() * 100 for name in ("a.png", "b c.png")}
"""Where the pages of the service put what is uploaded into a report."""


async def pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What a server has besides what programs may write to it."""
    if request.path.startswith(f"/files/{A}/images/"):
        if "Authorization" not in request.headers or request.path not in PICTURES:
            return web.Response(status=404)
        return web.Response(body=PICTURES[request.path])
    return await handler(request)


@pytest.fixture
def pair(tmp_path: Path) -> Generator[Pair]:
    with (
        running_sandbox(tmp_path / "a", accounts=[Account(A)], intercept=pages) as source,
        running_sandbox(tmp_path / "b", accounts=[Account(B)]) as target,
    ):
        source.graphql(RUN, p=PROJECT)
        source.call("POST", f"/files/{A}/{PROJECT}/r/file_stream", {"complete": True, "exitcode": 0})
        yield Pair(source, target, Plug())


def write_report(server: RunningSandbox, *texts: str) -> None:
    server.graphql(
        "mutation ($i: UpsertViewInput!) { upsertView(input: $i) { view { id } } }",
        i={
            "entityName": A,
            "projectName": PROJECT,
            "type": "runs",
            "name": "shown",
            "displayName": "Shown",
            "spec": json.dumps({"version": 5, "blocks": [{"type": "image", "url": text} for text in texts]}),
        },
    )


def blocks(pair: Pair, target: str) -> list[Any]:
    (edge,) = pair.target.graphql(VIEWS, e=B, p=target)["project"]["allViews"]["edges"]
    return [block["url"] for block in json.loads(edge["node"]["spec"])["blocks"]]


def test_pictures_follow_their_report(pair: Pair, tmp_path: Path) -> None:
    base = f"{pair.source.url}/files/{A}/images/projects/7"
    write_report(pair.source, f"{base}/a.png", f"![it]({base}/b%20c.png), drawn", f"{base}/gone.png")
    options = Options(state_dir=tmp_path / "state")
    result = pair.move(PROJECT, PROJECT, options)
    assert not result.failures
    assert result.losses["report_file_missing"] == 1
    assert "report_reference_unresolved" not in result.losses

    first, second, _ = blocks(pair, PROJECT)
    assert second.startswith("![it](")
    assert second.endswith("), drawn")
    for url, content in zip(
        (first, second.removeprefix("![it](").removesuffix("), drawn")), PICTURES.values(), strict=True
    ):
        assert url.startswith(f"{pair.target.url}/files/{B}/{PROJECT}/files-of-reports-")
        run, name = url.removeprefix(f"{pair.target.url}/files/{B}/{PROJECT}/").split("/", 1)
        found = pair.target.graphql(FILE, e=B, p=PROJECT, r=run, n=[name])["project"]["run"]["files"]
        assert send("GET", found["edges"][0]["node"]["directUrl"]) == (200, content)
    runs = pair.target.graphql(RUNS, e=B, p=PROJECT)["project"]["runs"]["edges"]
    assert [edge["node"]["state"] for edge in runs] == ["finished", "finished"]


def test_the_api_tells_of_the_files_in_a_report(pair: Pair) -> None:
    """The SDK gives HTML of a frame (E51)."""
    base = f"{pair.source.url}/files/{A}/images/projects/7"
    write_report(pair.source, f"{base}/a.png", f"![it]({base}/b%20c.png), drawn", "https://elsewhere/c.png")
    with engine.sync.Api(base_url=pair.source.url, api_key=pair.source.api_key) as api:
        (report,) = api.reports(f"{A}/{PROJECT}")
    assert report.assets == (f"{base}/a.png", f"{base}/b%20c.png")


def test_again_nothing_is_written_and_a_verification_finds_nothing(pair: Pair, tmp_path: Path) -> None:
    write_report(pair.source, f"{pair.source.url}/files/{A}/images/projects/7/a.png")
    options = Options(state_dir=tmp_path / "state")
    for number in range(3):
        before = pair.target.counters().get("writes", 0)
        pair.move(PROJECT, PROJECT, options)
        if number:
            assert pair.target.counters()["writes"] == before
    sides = (
        open_source(f"wandb:{pair.source.url}/{A}/{PROJECT}", SystemOptions(api_key=pair.source.api_key)),
        open_destination(
            f"wandb:{pair.target.url}/{B}/{PROJECT}", SystemOptions(api_key=pair.target.api_key)
        ),
    )
    findings = anyio.run(Verifier(*sides, VerifyOptions()).run)
    assert not findings.differences
