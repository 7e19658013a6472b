"""Single objects on their way: what the store says it received, and bytes that come in wrong."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from aiohttp import web

from engine.errors import EngineError, IntegrityError
from engine.records import Blob
from engine.transfer.context import Context
from engine.transfer.throttling.bandwidth import Bandwidth
from engine.transfer.throttling.budget import ByteBudget
from engine.wandb.client import connect
from engine.wandb.digests import md5_b64
from engine.wandb.uploads.lanes import Lanes
from engine.wandb.uploads.payloads import PIECE, SMALL, AtSource, InMemory, OnDisk, Payload, each_read
from engine.wandb.uploads.uploader import RESENDS, Uploader, md5_of_etag
from tests.wandb.making import contents

pytestmark = pytest.mark.anyio

CONTENT = b"some bytes"
MD5 = hashlib.md5(CONTENT).hexdigest()
OTHER = "0" * 32


class Store:
    """Takes PUTs and answers with the given ETags, the right one when there are no more."""

    def __init__(self, *etags: str) -> None:
        self.etags = list(etags)
        self.always: str | None = None
        self.received: list[bytes] = []
        self.url = ""

    async def put(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.received.append(body)
        etag = self.etags.pop(0) if self.etags else self.always or hashlib.md5(body).hexdigest()
        return web.Response(headers={"ETag": f'"{etag}"'})


@pytest.fixture
async def store() -> AsyncGenerator[Store]:
    store = Store()
    app = web.Application(client_max_size=2**26)
    app.router.add_put("/{path:.*}", store.put)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    store.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield store
    await runner.cleanup()


@pytest.fixture
async def uploader(store: Store, context: Context) -> AsyncGenerator[Uploader]:
    async with connect(store.url, "k" * 40, context) as client:
        yield Uploader(client, Lanes(4, ByteBudget()), context.uploads)


async def send(uploader: Uploader, *headers: str) -> None:
    await uploader.put(
        "/o", headers, InMemory(CONTENT), size=len(CONTENT), subject="file x", md5=md5_b64(CONTENT)
    )


async def test_what_the_store_received_wrongly_is_sent_once_more(store: Store, uploader: Uploader):
    store.etags = [OTHER]
    await send(uploader)
    assert store.received == [CONTENT, CONTENT]


async def test_what_is_always_received_wrongly_fails_and_is_named(store: Store, uploader: Uploader):
    store.etags = [OTHER] * (1 + RESENDS)
    with pytest.raises(IntegrityError, match=r"received other bytes.*file x"):
        await send(uploader)
    await send(uploader)


async def test_a_store_that_compares_digests_itself_may_have_etags_of_its_own(
    store: Store, uploader: Uploader
):
    store.always = OTHER
    for _ in range(5):
        await send(uploader, f"Content-MD5:{md5_b64(CONTENT)}")
    assert len(store.received) == 6  # the first was sent twice to find out


async def test_a_store_whose_etags_were_digests_before_is_taken_at_its_word(store: Store, uploader: Uploader):
    await send(uploader, f"Content-MD5:{md5_b64(CONTENT)}")
    store.always = OTHER
    with pytest.raises(IntegrityError):
        await send(uploader, f"Content-MD5:{md5_b64(CONTENT)}")


@pytest.mark.parametrize(
    ("headers", "is_md5"),
    [
        ({"ETag": f'"{MD5}"'}, True),
        ({"ETag": f'"{MD5.upper()}"', "x-amz-server-side-encryption": "AES256"}, True),
        ({"ETag": f'"{MD5}-3"'}, False),
        ({"ETag": MD5}, False),
        ({"ETag": f'W/"{MD5}"'}, False),
        ({"ETag": '"0x8DBC4A5F1E2D3C4"'}, False),
        ({"ETag": f'"{MD5}"', "x-amz-server-side-encryption": "aws:kms"}, False),
        ({"ETag": f'"{MD5}"', "x-amz-server-side-encryption-customer-algorithm": "AES256"}, False),
        ({}, False),
    ],
)
def test_only_an_etag_that_is_an_md5_counts_as_one(headers: dict[str, str], is_md5: bool):
    assert md5_of_etag(headers) == (md5_b64(CONTENT) if is_md5 else None)


@pytest.mark.parametrize("wrong", [b"some byteX", b"some"])
async def test_small_objects_that_come_in_wrong_are_fetched_once_more(
    store: Store, uploader: Uploader, wrong: bytes
):
    answers = [wrong, CONTENT]

    async def read(blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        yield answers.pop(0)[offset:]

    blob = Blob(path="x", size=len(CONTENT), md5=md5_b64(CONTENT))
    await uploader.put("/o", (), AtSource(blob, read), size=len(CONTENT), subject="x")
    assert store.received == [CONTENT]


async def test_an_object_that_stays_wrong_never_reaches_the_store(store: Store, uploader: Uploader):
    blob = Blob(path="x", size=len(CONTENT), md5=md5_b64(b"something else"))
    with pytest.raises(IntegrityError, match="digest that the source announced"):
        await uploader.put("/o", (), AtSource(blob, contents({"x": CONTENT})), size=len(CONTENT), subject="x")
    assert not store.received


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 2 * SMALL + 7])
@pytest.mark.parametrize("where", ["disk", "source", "memory"])
async def test_any_size_arrives_from_anywhere(
    store: Store, uploader: Uploader, tmp_path: Path, size: int, where: str
):
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    path = tmp_path / "file"
    path.write_bytes(content)
    payloads: dict[str, Payload] = {
        "disk": OnDisk(str(path)),
        "source": AtSource(Blob(path="x", size=size), contents({"x": content})),
        "memory": InMemory(content),
    }
    await uploader.put("/o", (), payloads[where], size=size, subject="x", md5=md5_b64(content))
    assert store.received == [content]


async def test_a_slow_disk_is_read_in_a_thread(
    store: Store, uploader: Uploader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.wandb.uploads.payloads.SLOW_READ_S", 0.0)
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * SMALL))
    await uploader.put("/o", (), OnDisk(str(path)), size=3 * SMALL, subject="x")
    assert store.received == [bytes(3 * SMALL)]


@pytest.mark.parametrize("slow", [False, True])
async def test_small_files_are_read_where_they_are_wanted_unless_the_disk_is_slow(
    monkeypatch: pytest.MonkeyPatch, slow: bool
):
    monkeypatch.setattr("engine.wandb.uploads.payloads.SLOW_READ_S", 0.0 if slow else math.inf)
    here = threading.get_ident()
    found = await each_read(lambda number: (number, threading.get_ident() == here), range(4))
    assert found == [(0, True), *((number, not slow) for number in range(1, 4))]


async def test_a_file_that_became_shorter_is_named(uploader: Uploader, tmp_path: Path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"abc")
    with pytest.raises(IntegrityError, match=r"shorter.*file\.bin"):
        await uploader.put("/o", (), OnDisk(str(path)), size=4, subject="x")
    with pytest.raises(EngineError, match=r"cannot be read.*gone"):
        await uploader.put("/o", (), OnDisk(str(tmp_path / "gone")), size=4, subject="x")


@pytest.mark.parametrize("where", ["memory", "disk"])
async def test_uploads_keep_to_the_bandwidth(store: Store, context: Context, tmp_path: Path, where: str):
    path = tmp_path / "file"
    path.write_bytes(bytes(2 * PIECE))
    payload: Payload = InMemory(bytes(2 * PIECE)) if where == "memory" else OnDisk(str(path))
    waits = []

    class Recorded(Bandwidth):
        async def take(self, size: int) -> None:
            waits.append(size)

    async with connect(store.url, "k" * 40, context) as client:
        uploader = Uploader(client, Lanes(4, ByteBudget()), Recorded(1))
        await uploader.put("/o", (), payload, size=2 * PIECE, subject="x")
    assert sum(waits) == 2 * PIECE
