"""A full disk pauses, tells, and loses nothing."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import AsyncIterator, Generator
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar

import anyio
import numpy as np
import pytest

from engine.errors import EngineError, Outage
from engine.records import Artifact, ArtifactEntry, Namespace
from engine.transfer.context import Context
from engine.wandb.points import PointStore
from engine.wandb.spool import NoRoom, spooling, when_there_is_room
from tests.memory import points
from tests.servers import RunningSandbox
from tests.wandb.conftest import Opened
from tests.wandb.making import START, a_run, contents

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def impatient_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.wandb.spool.POLL_S", 0.01)


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class TightFile(FileIO):
    """Takes half of what is written, then nothing, by turns, for the first six writes."""

    left = 6
    notices: ClassVar[list[set[str]]] = []
    context: ClassVar[Context]

    def write(self, data: Any) -> int:
        if TightFile.left:
            TightFile.left -= 1
            self.notices.append(set(self.context.notices))
            if TightFile.left % 2 == 0:
                raise full()
            return super().write(memoryview(data)[: len(data) // 2])
        return super().write(data)


async def test_an_artifact_that_does_not_fit_waits_for_room_and_arrives_whole(
    opened: Opened, context: Context, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
):
    def create(path: Path) -> FileIO:
        path.parent.mkdir()
        return TightFile(path, "wb")

    TightFile.context = context
    monkeypatch.setattr("engine.wandb.staging.SMALL", 3)
    monkeypatch.setattr("engine.wandb.staging._create", create)
    blobs = {"large": os.urandom(3 * 1024 * 1024)}

    async def entries() -> AsyncIterator[ArtifactEntry]:
        yield ArtifactEntry(path="large", size=len(blobs["large"]))

    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        artifact = Artifact(namespace=Namespace("", "x"), name="model", type="model")
        receipt = await writer.write_artifact(artifact, entries(), contents(blobs))
        await writer.finish()
    assert receipt.bytes == len(blobs["large"])
    assert not TightFile.left
    assert any("is full" in notice for seen in TightFile.notices for notice in seen)
    assert not context.notices
    assert not list(context.spool.iterdir())
    held = {path.read_bytes() for path in (sandbox.data_dir).rglob("*") if path.is_file()}
    assert blobs["large"] in held


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A real file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("may not mount a file system here")
    yield disk
    subprocess.run(["umount", disk], check=True)


async def test_a_real_disk_that_is_full_is_waited_for(opened: Opened, context: Context, small_disk: Path):
    context.spool = small_disk
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1536 * 1024))
    blobs = {"large": os.urandom(1024 * 1024 + 1)}

    async def entries() -> AsyncIterator[ArtifactEntry]:
        yield ArtifactEntry(path="large")

    async def make_room() -> None:
        while not context.notices:  # noqa: ASYNC110 - set from the code under test
            await anyio.sleep(0.01)
        filler.unlink()

    async with opened() as (destination, namespace), anyio.create_task_group() as tasks:
        tasks.start_soon(make_room)
        writer = await destination.open_run(a_run(), namespace)
        artifact = Artifact(namespace=Namespace("", "x"), name="model", type="model")
        with anyio.fail_after(30):
            receipt = await writer.write_artifact(artifact, entries(), contents(blobs))
    assert receipt.bytes == len(blobs["large"])
    assert not context.notices


async def test_a_disk_that_stays_full_ends_the_transfer_when_patience_does(context: Context):
    context.patience_s = 0.05

    def write() -> None:
        with spooling(context.spool):
            raise full()

    with pytest.raises(Outage, match=r"full for .*make room"), anyio.fail_after(5):
        await when_there_is_room(context, write)
    assert not context.notices


async def test_a_directory_that_may_not_be_written_is_not_waited_for(context: Context):
    def write() -> None:
        with spooling(context.spool):
            raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(EngineError, match="Permission denied"), anyio.fail_after(5):
        await when_there_is_room(context, write)


def test_points_that_do_not_fit_stay_in_memory(context: Context, monkeypatch: pytest.MonkeyPatch):
    with PointStore(context.spool) as store:
        store.add(points([("loss", step, START, float(step)) for step in range(1_000)]).batch)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "open", lambda *_, **__: (_ for _ in ()).throw(full()))
            with pytest.raises(NoRoom):
                store.spill()
        assert not list(context.spool.iterdir())
        store.spill()
        values = np.concatenate([window.value for window in store.windows()])
    assert values.tolist() == [float(step) for step in range(1_000)]
