"""Outages over real sockets: the server is waited for, one bad object is not, and both can be told apart."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from engine.errors import Outage, Side, Transient
from engine.http import HttpClient
from engine.transfer.context import Context
from engine.transfer.throttling import breaker
from engine.transfer.throttling.retry import RetryPolicy
from engine.transfer.throttling.throttle import Endpoint, Throttles

pytestmark = pytest.mark.anyio

Answer = Callable[[web.Request], web.Response]


@pytest.fixture(autouse=True)
def quick_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "OPENS_AFTER_S", 0.0)
    monkeypatch.setattr(breaker, "PROBE_FIRST_S", 0.005)
    monkeypatch.setattr(breaker, "PROBE_MOST_S", 0.01)


@asynccontextmanager
async def answering(answer: Answer) -> AsyncGenerator[tuple[str, HttpClient, Context, list[str]]]:
    """A server, a client that gives up after three failures, and the paths that were asked for."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.path)
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    context = Context(spool=Path(os.devnull))
    policy = RetryPolicy(attempts=3, base_s=0.001, cap_s=0.002)
    try:
        async with HttpClient(Side.DESTINATION, context, policy=policy) as client:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}", client, context, asked
    finally:
        await runner.cleanup()


def down_for(answers: int, status: int) -> Answer:
    """Answers once, then fails so many requests whatever they ask for, then answers again."""
    left = [answers]

    def answer(request: web.Request) -> web.Response:
        if request.path == "/first":
            return web.Response()
        left[0] -= 1
        return web.Response(status=status if left[0] >= 0 else 200)

    return answer


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_the_only_request_under_way_waits_out_an_outage(status: int):
    async with answering(down_for(40, status)) as (url, client, context, asked):
        await client.request("GET", f"{url}/first", endpoint=Endpoint.OBJECTS)
        await client.request("PUT", f"{url}/last", endpoint=Endpoint.OBJECTS, body=b"x")
        assert asked.count("/last") > client._policy.attempts
        assert [state.down_s for state in context.throttles.states()] == [None]


async def test_an_outage_is_waited_out_also_where_nothing_of_the_kind_was_asked_before():
    async with answering(down_for(40, 503)) as (url, client, _, asked):
        await client.request("GET", f"{url}/first", endpoint=Endpoint.GRAPHQL)
        await client.request("PUT", f"{url}/last", endpoint=Endpoint.OBJECTS, body=b"x")
        assert asked.count("/last") > client._policy.attempts


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_one_object_that_cannot_be_served_fails_alone(status: int):
    def answer(request: web.Request) -> web.Response:
        return web.Response(status=status if request.path == "/poisoned" else 200)

    async with answering(answer) as (url, client, _, asked):
        await client.request("GET", f"{url}/first", endpoint=Endpoint.OBJECTS)
        with pytest.raises(Transient):
            await client.request("GET", f"{url}/poisoned", endpoint=Endpoint.OBJECTS)
        assert asked.count("/poisoned") == client._policy.attempts


async def test_an_object_that_cannot_be_served_fails_alone_also_after_an_outage():
    left = [30]

    def answer(request: web.Request) -> web.Response:
        left[0] -= 1
        return web.Response(status=503 if left[0] >= 0 or request.path == "/poisoned" else 200)

    async with answering(answer) as (url, client, context, _):
        left[0] = 0
        await client.request("GET", f"{url}/first", endpoint=Endpoint.OBJECTS)
        left[0] = 30
        with pytest.raises(Transient):
            await client.request("GET", f"{url}/poisoned", endpoint=Endpoint.OBJECTS)
        assert [state.down_s for state in context.throttles.states()] == [None]


async def test_patience_ends_for_the_only_request_too():
    async with answering(down_for(10**6, 503)) as (url, client, context, _):
        context.throttles = Throttles(patience_s=0.05)
        await client.request("GET", f"{url}/first", endpoint=Endpoint.OBJECTS)
        with pytest.raises(Outage, match="destination: not answering"):
            await client.request("GET", f"{url}/last", endpoint=Endpoint.OBJECTS)


async def test_the_server_itself_is_asked_without_credentials_and_only_in_doubt():
    seen: list[bool] = []

    def answer(request: web.Request) -> web.Response:
        if request.path == "/":
            seen.append("Authorization" in request.headers)
        return web.Response(status=503 if request.path == "/bad" else 200)

    async with answering(answer) as (url, client, _, _asked):
        client._headers["Authorization"] = "key"
        await client.request("GET", f"{url}/first", endpoint=Endpoint.OBJECTS)
        assert not seen
        with pytest.raises(Transient):
            await client.request("GET", f"{url}/bad", endpoint=Endpoint.OBJECTS)
    assert seen
    assert not any(seen)
