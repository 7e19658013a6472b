"""A full disk holds up what there is no other copy of, has the rest read twice, tells, and loses nothing."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel
import numpy as np
import pytest
import wandb

from engine.errors import EngineError, Outage
from engine.records import Artifact, ArtifactEntry, Blob, Namespace
from engine.transfer.context import Context
from engine.wandb.digests import MIB, Multipart, md5_b64
from engine.wandb.history.points import PointStore
from engine.wandb.uploads.spool import NoRoom, SpoolFile, spooling, when_there_is_room
from tests.memory import points
from tests.servers import RunningSandbox
from tests.wandb.conftest import Opened
from tests.wandb.making import START, a_run

pytestmark = pytest.mark.anyio

PIECE = 256 * 1024
MODEL = Artifact(namespace=Namespace("", "x"), name="model", type="model")


@pytest.fixture(autouse=True)
def impatient_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.wandb.uploads.spool.POLL_S", 0.01)


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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


@dataclass
class Counted:
    """Blobs of a source that knows no digests, and how often each was read."""

    blobs: dict[str, bytes]
    reads: Counter[str] = field(default_factory=Counter)

    async def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        self.reads[blob.path] += 1
        content = self.blobs[blob.path]
        for start in range(offset, len(content), PIECE):
            await anyio.lowlevel.checkpoint()
            yield content[start : start + PIECE]

    async def entries(self, *, sized: bool) -> AsyncIterator[ArtifactEntry]:
        for path, content in self.blobs.items():
            yield ArtifactEntry(path=path, size=len(content) if sized else None)


def stored(sandbox: RunningSandbox) -> set[bytes]:
    return {path.read_bytes() for path in sandbox.data_dir.rglob("*") if path.is_file()}


@pytest.mark.parametrize("sized", [True, False])
async def test_what_does_not_fit_on_the_disk_is_read_twice_and_arrives(
    opened: Opened, context: Context, sandbox: RunningSandbox, small_disk: Path, sized: bool
):
    context.spool = small_disk
    source = Counted({"large": os.urandom(3 * MIB), "fits": os.urandom(MIB + 1)})
    notices: set[str] = set()

    async def read(blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        notices.update(context.notices)
        async for piece in source.read(blob, offset):
            yield piece

    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_artifact(MODEL, source.entries(sized=sized), read)
        await writer.finish()
    assert source.reads["large"] == 2
    assert set(source.blobs.values()) <= stored(sandbox)
    assert notices == {f"the disk of {small_disk} is full; files of artifact model are read twice"}
    assert not context.notices
    assert not list(small_disk.iterdir())


async def test_files_that_fill_the_disk_together_do_not_wait_for_each_other(
    opened: Opened, context: Context, sandbox: RunningSandbox, small_disk: Path
):
    """Each of them fits alone, and all are half-way when the disk is full."""
    context.spool = small_disk
    sources = [Counted({f"large{n}": os.urandom(MIB + MIB // 2)}) for n in range(6)]

    async with opened() as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for n, source in enumerate(sources):
                    artifact = Artifact(namespace=Namespace("", "x"), name=f"model{n}", type="model")
                    entries = source.entries(sized=n % 2 == 0)
                    tasks.start_soon(writer.write_artifact, artifact, entries, source.read)
        await writer.finish()
    assert {content for source in sources for content in source.blobs.values()} <= stored(sandbox)
    assert not list(small_disk.iterdir())


async def test_some_of_a_disk_stays_free(tmp_path: Path, small_disk: Path):
    """The ledger may be on it."""
    file = SpoolFile(small_disk / "spool" / "x", 0, 0)
    with closing(file):
        while file.is_kept:
            file.append(os.urandom(64 * 1024))
            assert shutil.disk_usage(small_disk).free >= 0.02 * 2 * MIB
    assert not file.path.exists()
    too_large = SpoolFile(small_disk / "spool" / "y", 2 * MIB, 0)
    with closing(too_large):
        too_large.append(b"x")
    assert not too_large.is_kept


async def test_remote_files_of_a_known_digest_never_touch_the_disk(
    opened: Opened, context: Context, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
):
    """Also those that W&B's client would send in parts; each is read once."""
    source = Counted({f"file{n}": os.urandom(n * MIB + 5) for n in range(4)})

    async def entries() -> AsyncIterator[ArtifactEntry]:
        for path, content in source.blobs.items():
            yield ArtifactEntry(path=path, size=len(content), md5=md5_b64(content))

    monkeypatch.setattr("engine.wandb.versions.staging.SpoolFile", None)
    async with opened(multipart=Multipart(threshold=2 * MIB, part=MIB)) as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_artifact(MODEL, entries(), source.read)
        await writer.finish()
    assert source.reads == dict.fromkeys(source.blobs, 1)
    assert set(source.blobs.values()) <= stored(sandbox)


async def test_a_file_too_large_for_one_piece_goes_in_parts_from_the_source_if_the_disk_is_full(
    opened: Opened, context: Context, api: wandb.Api, small_disk: Path, tmp_path: Path
):
    context.spool = small_disk
    source = Counted({"large": os.urandom(5 * MIB + 3)})
    multipart = Multipart(threshold=2 * MIB, part=2 * MIB, single=4 * MIB)
    async with opened(multipart=multipart) as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_artifact(MODEL, source.entries(sized=False), source.read)
        await writer.finish()
    back = Path(api.artifact(f"{namespace.path}/model:v0").download(root=str(tmp_path / "back")))
    assert (back / "large").read_bytes() == source.blobs["large"]


async def test_one_of_a_known_digest_is_read_for_its_parts_and_never_touches_the_disk(
    opened: Opened, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
):
    content = os.urandom(5 * MIB + 3)
    source = Counted({"large": content})

    async def entries() -> AsyncIterator[ArtifactEntry]:
        yield ArtifactEntry(path="large", size=len(content), md5=md5_b64(content))

    monkeypatch.delattr("engine.wandb.uploads.spool.SpoolFile._write")
    multipart = Multipart(threshold=2 * MIB, part=2 * MIB, single=4 * MIB)
    async with opened(multipart=multipart) as (destination, namespace):
        writer = await destination.open_run(a_run(), namespace)
        await writer.write_artifact(MODEL, entries(), source.read)
        await writer.finish()
    assert source.reads["large"] == 1 + 3, "once for the digests, then each part"
    assert content in stored(sandbox)


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
