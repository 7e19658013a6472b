"""Files and artifacts, as W&B's own client downloads them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import wandb

from engine.records import (
    Artifact,
    ArtifactEntry,
    Namespace,
    RunFile,
)
from engine.transfer.context import Context
from engine.wandb.digests import Multipart, md5_b64
from tests.wandb.conftest import Opened
from tests.wandb.making import BLOBS, START, a_run, contents, entries

pytestmark = pytest.mark.anyio


async def test_run_files_arrive_byte_for_byte(
    opened: Opened, api: wandb.Api, context: Context, tmp_path: Path
):
    async def files() -> AsyncIterator[RunFile]:
        for path, content in BLOBS.items():
            yield RunFile(path=path, size=len(content))
        yield RunFile(path="../evil", size=1)

    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        receipt = await writer.write_files(files(), contents(BLOBS))
        await writer.finish()
    assert (receipt.files, receipt.bytes) == (len(BLOBS), sum(map(len, BLOBS.values())))
    assert context.counters.files == len(BLOBS)
    read = {file.name: file for file in api.run(f"{namespace.path}/{a_run().id}").files()}
    assert set(read) == {*BLOBS, "wandb-metadata.json"}
    for path, content in BLOBS.items():
        with read[path].download(root=str(tmp_path / "files"), replace=True) as file:
            assert Path(file.name).read_bytes() == content
    assert context.losses.counts["path_refused"] == 1


async def test_a_source_may_bring_its_own_metadata_file(opened: Opened, api: wandb.Api):
    async def files() -> AsyncIterator[RunFile]:
        yield RunFile(path="wandb-metadata.json", size=11)

    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_files(files(), contents({"wandb-metadata.json": b'{"os":"me"}'}))
        await writer.finish()
    assert api.run(f"{namespace.path}/{a_run().id}").metadata == {"os": "me"}


@pytest.mark.parametrize("where", ["remote", "local", "remote-with-digest", "spooled"])
async def test_an_artifact_arrives_byte_for_byte_wherever_it_came_from(
    opened: Opened,
    api: wandb.Api,
    tmp_path: Path,
    context: Context,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
):
    if where == "spooled":
        monkeypatch.setattr("engine.wandb.versions.staging.SMALL", 3)

    async def sourced() -> AsyncIterator[ArtifactEntry]:
        for number, (path, content) in enumerate(BLOBS.items()):
            local = tmp_path / f"local{number}"
            local.write_bytes(content)
            yield ArtifactEntry(
                path=path,
                size=len(content) if where != "spooled" or content else None,
                local_path=local if where == "local" else None,
                md5=md5_b64(content) if where == "remote-with-digest" else None,
            )

    artifact = Artifact(
        namespace=Namespace("", "experiment"),
        name="weights",
        type="imported-artifacts",
        aliases=("best", "v7"),
        tags=("a b", "no/slash"),
        description="what it is",
        metadata={"accuracy": math.nan, "k": 1},
        created_at=START,
    )
    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        receipt = await writer.write_artifact(artifact, sourced(), contents(BLOBS))
        again = await writer.write_artifact(artifact, sourced(), contents(BLOBS))
        await writer.finish()
    assert (receipt.files, receipt.bytes, receipt.skipped) == (4, sum(map(len, BLOBS.values())), False)
    assert again.skipped
    assert not list(context.spool.iterdir())
    (read,) = api.run(f"{namespace.path}/{a_run().id}").logged_artifacts()
    assert read.type == "imported-artifacts"
    assert read.name == "weights:v0"
    assert set(read.aliases) == {"latest", "best"}
    assert read.tags == ["a b"]
    assert read.description == "what it is"
    assert read.metadata == {"accuracy": "NaN", "k": 1, "_import": {"created_at": START}}
    root = Path(read.download(root=str(tmp_path / "download")))
    read.verify(root=str(root))
    assert {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()} == BLOBS
    assert context.losses.counts["alias_dropped"] == 2


async def test_references_stay_references_and_an_empty_artifact_is_made(opened: Opened, api: wandb.Api):
    async def references() -> AsyncIterator[ArtifactEntry]:
        yield ArtifactEntry(
            path="data", ref="s3://bucket/key", digest="etag1", size=9, extra={"etag": "etag1"}
        )

    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        for name, content in (("refs", references()), ("empty", entries({}))):
            artifact = Artifact(namespace=Namespace("", "experiment"), name=name, type="dataset")
            await writer.write_artifact(artifact, content, contents({}))
        await writer.finish()
    entry = api.artifact(f"{namespace.path}/refs:v0").manifest.entries["data"]
    assert (entry.ref, entry.digest, entry.size) == ("s3://bucket/key", "etag1", 9)
    assert not api.artifact(f"{namespace.path}/empty:v0").manifest.entries


async def test_versions_follow_the_order_in_which_they_come(opened: Opened, api: wandb.Api):
    artifact = Artifact(namespace=Namespace("", "experiment"), name="model", type="model")
    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        for number in range(3):
            blobs = {"file": str(number).encode(), "same": b"same"}
            await writer.write_artifact(artifact, entries(blobs), contents(blobs))
        await writer.finish()
    versions = api.artifact_collection("model", f"{namespace.path}/model").artifacts()
    assert {v.version: v.manifest.entries["file"].size for v in versions} == {"v0": 1, "v1": 1, "v2": 1}
    assert api.artifact(f"{namespace.path}/model:latest").version == "v2"


async def test_metadata_beyond_what_wandb_takes_is_nested(opened: Opened, api: wandb.Api):
    metadata = {f"k{n}": n for n in range(150)}
    artifact = Artifact(namespace=Namespace("", "x"), name="model", type="model", metadata=metadata)
    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_artifact(artifact, entries({}), contents({}))
        await writer.finish()
    read = dict(api.artifact(f"{namespace.path}/model:v0").metadata)
    assert len(read) == 100
    more = read.pop("_import")["more_metadata"]
    assert {**read, **more} == metadata


async def test_paths_that_cannot_live_together_are_refused_and_told(
    opened: Opened, api: wandb.Api, context: Context
):
    blobs = {"a": b"1", "a/b": b"2", "../up": b"3", "ok": b"4"}
    artifact = Artifact(namespace=Namespace("", "x"), name="model", type="model")
    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_artifact(artifact, entries(blobs), contents(blobs))
        await writer.finish()
    assert set(api.artifact(f"{namespace.path}/model:v0").manifest.entries) == {"a", "ok"}
    assert context.losses.counts["path_refused"] == 2


async def test_many_files_and_large_ones_in_parts(opened: Opened, api: wandb.Api, tmp_path: Path):
    blobs = {f"dir{n % 7}/file{n}": f"{n}".encode() for n in range(250)}
    blobs["large"] = bytes(range(256)) * 12_000
    artifact = Artifact(namespace=Namespace("", "x"), name="model", type="model")
    async with opened(multipart=Multipart(threshold=2_000_000, part=1_000_000)) as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_artifact(artifact, entries(blobs), contents(blobs))
        await writer.finish()
    read = api.artifact(f"{namespace.path}/model:v0")
    root = Path(read.download(root=str(tmp_path / "download")))
    assert {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()} == blobs
