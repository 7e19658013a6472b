"""The bytes of artifacts: bounded memory, parts side by side, and what becomes of bytes that are wrong."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import wandb

from engine.errors import EngineError, IntegrityError
from engine.protocols import Reader
from engine.records import Artifact, ArtifactEntry, Blob, Namespace, RunFile, RunState
from engine.transfer.context import Context
from engine.transfer.throttling.budget import ByteBudget
from engine.wandb.digests import Multipart, md5_b64
from engine.wandb.uploads.lanes import Lane
from engine.wandb.uploads.uploader import Uploader
from engine.wandb.versions.manifest import Entry, manifest_json
from engine.wandb.versions.parts import PARTS
from tests.servers import RunningSandbox
from tests.wandb.conftest import Opened
from tests.wandb.making import START, a_run, contents, entries

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
ARTIFACT = Artifact(namespace=Namespace("", "x"), name="model", type="model")


async def local(root: Path, blobs: dict[str, bytes]) -> AsyncIterator[ArtifactEntry]:
    root.mkdir(exist_ok=True)
    for path, content in blobs.items():
        file = root / path
        file.write_bytes(content)
        yield ArtifactEntry(path=path, size=len(content), local_path=file)


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("spooled", [True, False])
async def test_remote_bytes_that_come_in_wrong_are_fetched_once_more(
    opened: Opened, api: wandb.Api, monkeypatch: pytest.MonkeyPatch, spooled: bool, announced: bool
):
    """By their length, or by the digest that the source tells of a file that goes in parts."""
    right = os.urandom(3_000)
    wrong = right[:-1] if not announced else right[:-1] + b"!"
    answers = [wrong, right]
    if spooled:
        monkeypatch.setattr("engine.wandb.versions.staging.SMALL", 3)

    async def read(blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        yield answers.pop(0)

    async def one() -> AsyncIterator[ArtifactEntry]:
        yield ArtifactEntry(path="file", size=3_000, md5=md5_b64(right) if announced else None)

    async with opened(multipart=Multipart(threshold=2_000, part=1_000)) as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_artifact(ARTIFACT, one(), read)
        await writer.finish()
    assert not answers
    assert api.artifact(f"{namespace.path}/model:v0").manifest.entries["file"].digest == md5_b64(right)


async def test_remote_bytes_that_stay_wrong_fail_the_artifact_and_are_named(opened: Opened, context: Context):
    async def one() -> AsyncIterator[ArtifactEntry]:
        yield ArtifactEntry(path="dir/file", size=2_000, md5=md5_b64(b"another"))

    async with opened(multipart=Multipart(threshold=2_000, part=1_000)) as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        with pytest.raises(IntegrityError, match=r"digest that the source announced.*dir/file"):
            await writer.write_artifact(ARTIFACT, one(), contents({"dir/file": bytes(2_000)}))
    assert context.budget.in_flight == 0


@pytest.mark.parametrize("size", [10, 2 * MIB])
async def test_a_file_that_cannot_be_read_fails_the_artifact_and_is_named(
    opened: Opened, tmp_path: Path, size: int
):
    async def gone() -> AsyncIterator[ArtifactEntry]:
        async for entry in local(tmp_path / "files", {"there": b"1", "gone.bin": bytes(size)}):
            yield entry
        (tmp_path / "files" / "gone.bin").unlink()

    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        with pytest.raises(EngineError, match=r"cannot be read: No such file.*gone\.bin"):
            await writer.write_artifact(ARTIFACT, gone(), contents({}))


async def test_a_file_that_grew_since_it_was_listed_arrives_as_it_is_now(
    opened: Opened, api: wandb.Api, tmp_path: Path
):
    file = tmp_path / "log"
    file.write_bytes(bytes(MIB))

    async def listed() -> AsyncIterator[ArtifactEntry]:
        yield ArtifactEntry(path="log", size=5, local_path=file)

    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        assert (await writer.write_artifact(ARTIFACT, listed(), contents({}))).bytes == MIB


async def test_parts_of_a_file_go_side_by_side(
    opened: Opened, api: wandb.Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    content = os.urandom(10 * MIB)
    busy: list[int] = []
    put = Uploader.put

    async def watched(self: Uploader, *what: Any, **more: Any) -> Any:
        busy.append(self.lanes.busy(Lane.LARGE))
        return await put(self, *what, **more)

    monkeypatch.setattr(Uploader, "put", watched)
    async with opened(multipart=Multipart(threshold=MIB, part=MIB // 2)) as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_artifact(ARTIFACT, local(tmp_path / "files", {"large": content}), contents({}))
        await writer.finish()
    assert max(busy) == PARTS
    root = Path(api.artifact(f"{namespace.path}/model:v0").download(root=str(tmp_path / "download")))
    assert (root / "large").read_bytes() == content


async def test_the_byte_budget_holds_for_everything_that_moves(
    opened: Opened, context: Context, tmp_path: Path
):
    """Small and large, local and remote, artifacts and run files, all at once and with little memory."""
    context.budget = ByteBudget(8 * MIB)
    small = {f"small{n}": os.urandom(20_000) for n in range(150)}
    large = {f"large{n}": os.urandom(3 * MIB) for n in range(4)}

    async def run_files() -> AsyncIterator[RunFile]:
        for path, content in {**small, **large}.items():
            yield RunFile(path=path, size=len(content))

    async with opened(multipart=Multipart(threshold=2 * MIB, part=MIB)) as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)

        async def artifact(name: str, content: AsyncIterator[ArtifactEntry], read: Reader) -> None:
            made = Artifact(namespace=Namespace("", "x"), name=name, type="model")
            await writer.write_artifact(made, content, read)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for n in range(6):
                    content = local(tmp_path / f"files{n}", {**small, **large, "own": bytes([n])})
                    tasks.start_soon(artifact, f"local{n}", content, contents({}))
                    remote = {**small, **large, "own": bytes([n, n])}
                    tasks.start_soon(artifact, f"remote{n}", entries(remote), contents(remote))
                tasks.start_soon(writer.write_files, run_files(), contents({**small, **large}))
        await writer.finish()
    assert context.budget.in_flight == 0
    assert 0 < context.budget.peak <= 8 * MIB


async def test_a_run_is_kept_alive_while_its_files_are_on_their_way(
    opened: Opened, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.wandb.history.filestream.HEARTBEAT_S", 0.05)
    posts: list[dict[str, Any]] = []

    async with opened() as (destination, namespace):
        request = destination._client.http.request

        async def watched(method: str, url: str, **options: Any) -> Any:
            if url.endswith("/file_stream"):
                posts.append(json.loads(options["body"]))
            return await request(method, url, **options)

        monkeypatch.setattr(destination._client.http, "request", watched)

        async def slow(blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
            while len(posts) < 3:  # noqa: ASYNC110 - set from the code under test
                await anyio.sleep(0.01)
            yield b"x"

        writer = await destination.open_run(a_run(), namespace)
        with anyio.fail_after(10):
            await writer.write_artifact(ARTIFACT, entries({"file": b"x"}), slow)
        assert posts[:3] == [{}, {}, {}]
        await writer.finish()
    assert posts[-1]["exitcode"] == 0


async def test_a_run_that_was_only_announced_is_not_started_by_a_heartbeat(opened: Opened):
    async with opened() as (destination, namespace):
        run = a_run(id="pending", state=RunState.PENDING, ended_at=None)
        writer = await destination.open_run(run, namespace)
        assert not writer.stream.beats  # type: ignore[attr-defined]


def test_a_manifest_is_the_same_json_however_it_is_written():
    made = [
        Entry(path='odd "näme"\n', digest="d", size=1, birth_artifact_id="a"),
        Entry(path="ref", digest="e", size=None, ref="s3://b/k", extra={"etag": "e", "n": float(START)}),
    ]
    assert json.loads(manifest_json(made)) == {
        "version": 1,
        "storagePolicy": "wandb-storage-policy-v1",
        "storagePolicyConfig": {"storageLayout": "V2"},
        "contents": {entry.path: entry.as_json() for entry in made},
    }
    assert json.loads(manifest_json([]))["contents"] == {}
