"""Versions of one collection are numbered in the order in which the source gives them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import anyio
import pytest
import wandb

from engine.errors import Conflict, NotFound
from engine.records import Artifact, ArtifactEntry, Blob
from tests.wandb.conftest import Opened
from tests.wandb.making import a_run, contents, entries

pytestmark = pytest.mark.anyio


def version(number: int, *aliases: str) -> Artifact:
    return Artifact(
        namespace=a_run().namespace, name="images", type="dataset", version=number, aliases=aliases
    )


async def test_a_version_that_takes_long_to_read_comes_before_those_behind_it(opened: Opened, api: wandb.Api):
    read_later = anyio.Event()

    async def slow_entries() -> AsyncIterator[ArtifactEntry]:
        await read_later.wait()
        async for entry in entries({"a": b"0"}):
            yield entry

    async with opened() as (destination, namespace), anyio.create_task_group() as tasks:
        writer = await destination.open_run(a_run(), namespace)
        tasks.start_soon(writer.write_artifact, version(0, "first"), slow_entries(), contents({"a": b"0"}))
        for number in (1, 2):
            blobs = {"a": b"%d" % number}
            tasks.start_soon(writer.write_artifact, version(number), entries(blobs), contents(blobs))
        await anyio.wait_all_tasks_blocked()
        read_later.set()
    found = api.artifacts("dataset", f"{namespace.path}/images")
    assert {a.version: a.metadata["_import"]["version"] for a in found} == {"v0": 0, "v1": 1, "v2": 2}
    assert api.artifact(f"{namespace.path}/images:latest").version == "v2"
    assert api.artifact(f"{namespace.path}/images:first").version == "v0"


async def test_behind_a_version_that_did_not_arrive_no_other_takes_its_place(opened: Opened, api: wandb.Api):
    async def gone(blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        if blob.path:
            raise NotFound("gone")
        yield b""

    blobs = [{"a": b"0"}, {"a": b"1"}]
    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        with pytest.raises(NotFound):
            await writer.write_artifact(version(0), entries(blobs[0]), gone)
        with pytest.raises(Conflict, match="version 1 waits for an earlier one"):
            await writer.write_artifact(version(1), entries(blobs[1]), contents(blobs[1]))
        await writer.finish(complete=False)
    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        for number in (0, 1):
            await writer.write_artifact(version(number), entries(blobs[number]), contents(blobs[number]))
        await writer.finish()
    found = api.artifacts("dataset", f"{namespace.path}/images")
    assert {a.version: a.metadata["_import"]["version"] for a in found} == {"v0": 0, "v1": 1}
