"""Large downloads over real sockets: ranges give the same bytes as one stream, whatever happens."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import downloads, ranges
from engine.downloads import PIECE, download
from engine.errors import IntegrityError, Side
from engine.http import HttpClient
from engine.transfer.context import Context
from engine.transfer.throttling.budget import ByteBudget
from engine.transfer.throttling.retry import RetryPolicy
from engine.transfer.throttling.throttle import Endpoint

pytestmark = pytest.mark.anyio

CONTENT = random.Random(7).randbytes(300_000)


class Store:
    """Answers GETs of one object, with ranges or without; ``harm`` changes the answer to the nth."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.headers = {"ETag": '"one"'}
        self.ranges = True
        self.asked: list[str | None] = []
        self.at_once = self.most_at_once = 0
        self.expired: set[str] = set()
        self.signed = 0
        self.pause_s = 0.0
        self.harm: Callable[[int, web.StreamResponse, bytes], Awaitable[bytes]] | None = None

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if request.query["signed"] in self.expired:
            return web.Response(status=403)
        number = len(self.asked)
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        start, stop = 0, len(self.content)
        if self.ranges and wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(stop, int(last) + 1) if last else stop
            if start >= len(self.content):
                return web.Response(status=416)
        body = self.content[start:stop]
        answer = web.StreamResponse(status=206 if self.ranges and wanted else 200, headers=self.headers)
        if answer.status == 206:
            answer.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(self.content)}"
        answer.content_length = len(body)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await asyncio.sleep(self.pause_s)
            if self.harm is not None:
                body = await self.harm(number, answer, body)
            await answer.prepare(request)
            await answer.write(body)
            if len(body) < (answer.content_length or 0):
                assert request.transport is not None
                request.transport.close()
        finally:
            self.at_once -= 1
        return answer


class World:
    def __init__(self, store: Store, url: str, http: HttpClient) -> None:
        self.store, self.url, self.http = store, url, http

    def read(self, offset: int = 0, size: int | None = None, signings: int = 1) -> AsyncGenerator[bytes]:
        async def locate() -> tuple[str, Mapping[str, str]]:
            self.store.signed += 1
            return f"{self.url}/?signed={self.store.signed}", {}

        return download(
            self.http,
            locate,
            Endpoint.OBJECTS,
            size=len(self.store.content) if size is None else size,
            offset=offset,
            subject="weights",
            anonymous=True,
            signings=signings,
        )

    async def content(self, offset: int = 0, size: int | None = None, signings: int = 1) -> bytes:
        async with aclosing(self.read(offset, size, signings)) as pieces:
            return b"".join([piece async for piece in pieces])


@asynccontextmanager
async def opened() -> AsyncGenerator[World]:
    store = Store()
    app = web.Application()
    app.router.add_get("/", store.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with HttpClient(Side.SOURCE, Context(spool=Path())) as http:
            yield World(store, f"http://127.0.0.1:{runner.addresses[0][1]}", http)
    finally:
        await runner.cleanup()


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[World]:
    """A store whose objects are large from 1,000 bytes on, in ranges of 10,000."""
    _measures(monkeypatch, large=1_000, probe=500, size=10_000)
    monkeypatch.setattr(downloads, "DEFAULT_POLICY", RetryPolicy(attempts=4, base_s=0.001, cap_s=0.002))
    async with opened() as world:
        yield world


def _measures(monkeypatch: pytest.MonkeyPatch, *, large: int, probe: int, size: int) -> None:
    monkeypatch.setattr(downloads, "LARGE", large)
    monkeypatch.setattr(downloads, "PROBE", probe)
    monkeypatch.setattr(ranges, "RANGE", size)
    monkeypatch.setattr(ranges, "FAST", math.inf)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_the_bytes_are_those_of_the_object_and_in_order(data: st.DataObject) -> None:
    """For any size, offset, threshold, first request and range, and however much memory there is."""
    size = data.draw(st.integers(0, 3_000), "size")
    offset = data.draw(st.integers(0, size), "offset")

    async def run() -> None:
        async with opened() as world:
            world.store.content = CONTENT[:size]
            world.store.ranges = data.draw(st.booleans(), "ranges")
            world.http.read_ahead = ByteBudget(data.draw(st.integers(1, 5_000), "room"))
            assert await world.content(offset) == CONTENT[offset:size]
            assert world.http.read_ahead.in_flight == 0

    with pytest.MonkeyPatch.context() as monkeypatch:
        _measures(
            monkeypatch,
            large=data.draw(st.integers(1, 3_000), "large"),
            probe=data.draw(st.integers(1, 1_000), "probe"),
            size=data.draw(st.integers(100, 1_000), "range"),
        )
        asyncio.run(run())


async def test_ranges_of_a_slow_server_come_side_by_side(world: World) -> None:
    world.store.pause_s = 0.01
    assert await world.content() == CONTENT
    assert world.store.most_at_once == 1 + ranges.MOST_AHEAD
    assert world.store.signed == 1


async def test_nothing_is_fetched_ahead_of_a_reader_who_is_slower_than_the_server(world: World) -> None:
    """As under a limit of bandwidth: bytes that come before their turn would break it."""
    world.store.content = CONTENT[:60_000]
    async with aclosing(world.read()) as pieces:
        async for _ in pieces:
            await asyncio.sleep(0.1)
    assert world.store.most_at_once == 1


async def test_a_small_object_comes_in_one_request_that_names_no_range(world: World) -> None:
    world.store.content = CONTENT[:999]
    assert await world.content() == CONTENT[:999]
    assert world.store.asked == [None]


async def test_a_server_that_ignores_ranges_is_asked_once(world: World) -> None:
    world.store.ranges = False
    assert await world.content() == CONTENT
    assert len(world.store.asked) == 1


async def test_an_object_without_a_version_comes_in_one_stream(world: World) -> None:
    """Nobody would notice if its ranges were of two different contents."""
    world.store.headers = {}
    assert await world.content() == CONTENT
    assert world.store.asked == ["bytes=0-499", "bytes=500-"]


@pytest.mark.parametrize("version", ["ETag", "Last-Modified"])
async def test_an_object_that_changes_meanwhile_is_noticed(world: World, version: str) -> None:
    async def change(number: int, answer: web.StreamResponse, body: bytes) -> bytes:
        answer.headers[version] = "before" if number < 5 else "after"
        return body

    world.store.headers = {}
    world.store.harm = change
    with pytest.raises(IntegrityError, match="changed while it was read"):
        await world.content()
    assert world.http.read_ahead.in_flight == 0


async def test_an_object_that_shrinks_meanwhile_is_noticed(world: World) -> None:
    async def shrink(number: int, answer: web.StreamResponse, body: bytes) -> bytes:
        world.store.content = CONTENT[:20_000]
        return body

    world.store.harm = shrink
    with pytest.raises(IntegrityError, match="changed while it was read"):
        await world.content()


async def test_an_object_larger_than_listed_is_refused(world: World) -> None:
    with pytest.raises(IntegrityError, match="has 300000 bytes and was listed with 200000"):
        await world.content(size=200_000)


@pytest.mark.parametrize("silently", [False, True], ids=["by a reset", "silently"])
async def test_a_range_that_breaks_goes_on_by_itself(world: World, silently: bool) -> None:
    async def truncate(number: int, answer: web.StreamResponse, body: bytes) -> bytes:
        if number % 3 != 2:
            return body
        if silently:
            answer.content_length = len(body) // 2
        return body[: len(body) // 2]

    world.store.pause_s = 0.005
    world.store.harm = truncate
    assert await world.content() == CONTENT
    starts = [int(asked.removeprefix("bytes=").partition("-")[0]) for asked in world.store.asked if asked]
    assert len(set(starts)) == len(starts), "bytes were asked for twice"


async def test_an_address_that_expires_is_renewed_for_all_ranges(world: World) -> None:
    async def expire(number: int, answer: web.StreamResponse, body: bytes) -> bytes:
        if number in (8, 16):
            world.store.expired.add(str(world.store.signed))
        return body

    world.store.pause_s = 0.005
    world.store.harm = expire
    assert await world.content() == CONTENT
    assert world.store.signed == 3


@pytest.mark.parametrize("after", [1, 500, 15_000])
async def test_a_reader_who_leaves_early_leaves_nothing_behind(world: World, after: int) -> None:
    world.store.pause_s = 0.005
    before = asyncio.all_tasks()
    got = 0
    async with aclosing(world.read()) as pieces:
        async for piece in pieces:
            got += len(piece)
            if got >= after:
                break
    assert world.http.read_ahead.in_flight == 0
    assert not [task for task in asyncio.all_tasks() - before if "_fetch" in repr(task)]


async def test_memory_is_bounded_however_many_read_at_once(world: World) -> None:
    """Who finds no room goes on without; nobody waits for it."""
    world.store.pause_s = 0.002
    world.http.read_ahead = ByteBudget(25_000)
    contents = await asyncio.gather(*(world.content() for _ in range(6)))
    assert contents == [CONTENT] * 6
    assert world.http.read_ahead.peak == 20_000


async def test_a_connection_that_is_fast_alone_gets_no_company(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _measures(monkeypatch, large=1_000, probe=3 * PIECE, size=PIECE)
    monkeypatch.setattr(ranges, "FAST", 1)
    world.store.content = bytes(8 * PIECE)
    assert await world.content() == world.store.content
    assert world.store.asked == [f"bytes=0-{3 * PIECE - 1}", f"bytes={3 * PIECE}-"]


async def test_pieces_are_no_longer_than_a_mebibyte(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _measures(monkeypatch, large=2**22, probe=2**21, size=2**22)
    world.store.content = bytes(10 * PIECE)
    async with aclosing(world.read()) as pieces:
        assert max([len(piece) async for piece in pieces]) <= PIECE
