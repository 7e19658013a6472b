"""From one W&B project to another: bytes come from one object store and go to the other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import wandb

from engine.protocols import SystemOptions
from engine.records import Artifact, Namespace
from engine.transfer.context import Context
from engine.wandb import WandbSource
from engine.wandb.digests import MIB, Multipart
from tests.servers import RunningSandbox
from tests.wandb.conftest import ENTITY, Opened
from tests.wandb.making import a_run, contents, entries

pytestmark = pytest.mark.anyio

TINY_PARTS = Multipart(threshold=2 * MIB, part=MIB)


class Untouchable:
    """In the place of what writes to the spool."""

    def __init__(self, *_: Any) -> None:
        raise AssertionError("the disk was asked for")


async def test_files_of_an_artifact_never_touch_the_disk(
    opened: Opened,
    sandbox: RunningSandbox,
    context: Context,
    api: wandb.Api,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Small ones, large ones, and such as went in parts when they came from a disk."""
    blobs = {"small": b"x" * 1_000, "empty": b"", "large": os.urandom(MIB + 7), "huge": os.urandom(5 * MIB)}
    artifact = Artifact(namespace=Namespace("", "x"), name="weights", type="model")
    async with opened(multipart=TINY_PARTS) as (destination, original):
        writer = await destination.open_run(a_run(), original)
        await writer.write_artifact(artifact, entries(blobs), contents(blobs))
        await writer.finish()

    monkeypatch.setattr("engine.wandb.versions.staging.SpoolFile", Untouchable)
    source = WandbSource(f"{sandbox.url}/{ENTITY}", SystemOptions(api_key=sandbox.api_key))
    async with (
        source.open(context),
        opened(path=f"{ENTITY}/straight-through-copy", multipart=TINY_PARTS) as (destination, copied),
    ):
        run = await source.run(original, a_run().id)
        writer = await destination.open_run(run, copied)
        async for found in source.artifacts(run):
            receipt = await writer.write_artifact(found, source.entries(found), source.read)
            assert receipt.bytes == sum(map(len, blobs.values()))
        await writer.finish()
    assert context.budget.in_flight == 0
    before, after = (api.artifact(f"{place.path}/weights:v0") for place in (original, copied))
    assert after.digest == before.digest
    back = Path(after.download(root=str(tmp_path / "back")))
    assert {path.name: path.read_bytes() for path in back.iterdir()} == blobs
