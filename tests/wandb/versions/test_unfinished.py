"""Uploads of large artifacts that are interrupted, refused, or answered by nobody."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import wandb
from aiohttp import web

from engine.protocols import SystemOptions
from engine.records import Artifact, ArtifactEntry, Namespace, Project, SystemInfo
from engine.sandbox import Account
from engine.transfer.context import Context
from engine.transfer.ledger.ledger import open_ledger
from engine.transfer.ledger.memos import Memos
from engine.wandb import WandbDestination
from engine.wandb.digests import Multipart
from tests.servers import RunningSandbox, running_sandbox
from tests.wandb.conftest import ENTITY
from tests.wandb.making import a_run, contents

pytestmark = pytest.mark.anyio

KIB = 1024
ARTIFACT = Artifact(namespace=Namespace("", "x"), name="model", type="model")
LARGE = os.urandom(10 * 256 * KIB - 7)
PARTS = list(range(1, 11))
SMALL = {f"small{n}": os.urandom(100) for n in range(5)}


@dataclass
class Watch:
    """Stands in front of a sandbox; sees what is sent, holds on to it or changes the answer.

    Attributes:
        hold_part: parts from this one on are not taken.
        continues: whether the same request for URLs is answered with the same upload.
    """

    parts: list[int] = field(default_factory=list)
    small: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    hold_part: int | None = None
    continues: bool = False
    _answers: dict[str, bytes] = field(default_factory=dict)

    async def __call__(
        self, request: web.Request, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.method == "PUT":
            return await self._put(request, answer)
        if request.path == "/graphql":
            return await self._graphql(request, answer)
        return await answer(request)

    async def _put(self, request: web.Request, answer: Any) -> web.StreamResponse:
        number = int(request.query.get("partNumber", "0"))
        if self.hold_part is not None and number >= self.hold_part:
            return web.Response(status=503)
        response: web.StreamResponse = await answer(request)
        if response.status == 200:
            self.parts += [number] if number else []
            self.small += [] if number else [request.path]
        return response

    async def _graphql(self, request: web.Request, answer: Any) -> web.StreamResponse:
        asked = json.loads(await request.read())
        operation = asked["query"].split("(")[0].split()[-1]
        self.asked.append(operation)
        wants_parts = operation == "CreateArtifactFiles" and "uploadPartsInput" in str(asked)
        key = json.dumps([file["md5"] for file in asked["variables"]["files"]]) if wants_parts else ""
        if self.continues and key in self._answers:
            return web.Response(body=self._answers[key], content_type="application/json")
        response: web.StreamResponse = await answer(request)
        if wants_parts:
            assert isinstance(response, web.Response)
            assert isinstance(response.body, bytes)
            self._answers[key] = response.body
        return response


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def server(tmp_path: Path, watch: Watch) -> Generator[RunningSandbox]:
    with running_sandbox(tmp_path / "sandbox", accounts=[Account(ENTITY)], intercept=watch) as running:
        yield running


@pytest.fixture(autouse=True)
def always_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.wandb.versions.unfinished.BYTES", 1)


Transfer = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture
def transfer(server: RunningSandbox, tmp_path: Path) -> Transfer:
    """One transfer of the artifact, with the ledger of those before."""
    files = tmp_path / "files"
    files.mkdir()
    for name, content in {"large": LARGE, **SMALL}.items():
        (files / name).write_bytes(content)

    async def entries() -> AsyncIterator[ArtifactEntry]:
        for path in sorted(files.iterdir()):
            yield ArtifactEntry(path=path.name, size=path.stat().st_size, local_path=path)

    @asynccontextmanager
    async def context() -> AsyncGenerator[Context]:
        spool = tmp_path / "spool"
        spool.mkdir(exist_ok=True)
        async with open_ledger("memory:a", "memory:b", state_dir=tmp_path, scratch=tmp_path) as ledger:
            source = SystemInfo(uri="mlflow:x", product="MLflow")
            yield Context(spool=spool, source=source, memos=Memos(ledger))

    async def once() -> None:
        destination = WandbDestination(
            f"{server.url}/{ENTITY}/parts",
            SystemOptions(api_key=server.api_key),
            multipart=Multipart(threshold=512 * KIB, part=256 * KIB),
        )
        async with context() as lent, destination.open(lent):
            project = Project(namespace=Namespace("", "x"), id="1")
            namespace = (await destination.prepare([project]))[project.namespace]
            writer = await destination.open_run(a_run(), namespace)
            await writer.write_artifact(ARTIFACT, entries(), contents({}))
            await writer.finish()

    return once


async def interrupted(transfer: Transfer, watch: Watch) -> None:
    """A transfer that ends after the first parts and all small files."""
    watch.hold_part = 6
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transfer)
            # The sandbox sees them in a thread of its own.
            while sorted(watch.parts) != PARTS[:5] or len(watch.small) < len(SMALL):  # noqa: ASYNC110
                await anyio.sleep(0.01)
            # The answers are on their way, and the ledger groups what it writes.
            await anyio.sleep(0.5)
            tasks.cancel_scope.cancel()
    watch.hold_part = None


def arrived(server: RunningSandbox, root: Path) -> dict[str, bytes]:
    """All files of the only version, by W&B's own client."""
    api = wandb.Api(overrides={"base_url": server.url}, api_key=server.api_key)
    (version,) = api.artifacts("model", f"{ENTITY}/parts/model")
    directory = Path(version.download(root=str(root)))
    return {path.name: path.read_bytes() for path in directory.iterdir()}


async def test_parts_that_were_acknowledged_are_not_sent_again_if_the_server_goes_on_with_the_upload(
    transfer: Transfer, watch: Watch, server: RunningSandbox, tmp_path: Path
):
    watch.continues = True
    await interrupted(transfer, watch)
    await transfer()
    assert sorted(watch.parts) == PARTS
    assert await anyio.to_thread.run_sync(arrived, server, tmp_path / "back") == {"large": LARGE, **SMALL}


async def test_parts_are_sent_again_if_the_server_begins_a_new_upload(
    transfer: Transfer, watch: Watch, server: RunningSandbox, tmp_path: Path
):
    await interrupted(transfer, watch)
    await transfer()
    assert sorted(watch.parts) == sorted(PARTS[:5] + PARTS)
    assert await anyio.to_thread.run_sync(arrived, server, tmp_path / "back") == {"large": LARGE, **SMALL}


async def test_small_files_of_a_version_that_was_not_committed_are_not_sent_again(
    transfer: Transfer, watch: Watch, server: RunningSandbox
):
    await interrupted(transfer, watch)
    before = list(watch.small)
    await transfer()
    again = watch.small[len(before) :]
    assert not set(again) & set(before)
    assert len(again) == 2  # the manifest, and what every run has


async def test_an_upload_url_is_never_written_down(transfer: Transfer, watch: Watch, tmp_path: Path):
    await interrupted(transfer, watch)
    written = b"".join(path.read_bytes() for path in tmp_path.glob("*.sqlite*"))
    assert b"object_part" in written
    assert b"Signature" not in written
    assert b"http://" not in written


async def test_completing_an_upload_whose_answer_was_lost_is_not_repeated(
    transfer: Transfer, watch: Watch, server: RunningSandbox, tmp_path: Path
):
    server.call(
        "PUT", "/admin/faults", {"rules": ["graphql completeMultipartUploadArtifact: lose-answer once"]}
    )
    await transfer()
    assert watch.asked.count("CompleteMultipartUpload") == 1
    assert sorted(watch.parts) == PARTS
    assert await anyio.to_thread.run_sync(arrived, server, tmp_path / "back") == {"large": LARGE, **SMALL}


async def test_completing_an_upload_that_did_not_arrive_is_repeated(
    transfer: Transfer, watch: Watch, server: RunningSandbox
):
    server.call("PUT", "/admin/faults", {"rules": ["graphql completeMultipartUploadArtifact: 500 2 times"]})
    await transfer()
    assert watch.asked.count("CompleteMultipartUpload") >= 1
    assert sorted(watch.parts) == PARTS


async def test_a_part_that_is_refused_once_costs_itself_and_nothing_else(
    transfer: Transfer, watch: Watch, server: RunningSandbox
):
    server.call("PUT", "/admin/faults", {"rules": ["objects PUT: expire once after 7 requests"]})
    await transfer()
    assert sorted(watch.parts) == PARTS
    assert watch.asked.count("CreateArtifactFiles") == 2  # of small and of large files
