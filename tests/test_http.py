"""The HTTP client against a real server: what an answer means, and what goes out."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from engine import bodies
from engine.answers import Response, error_of, parse_json, retry_after_s
from engine.errors import (
    AuthError,
    CommError,
    Conflict,
    EngineError,
    NotFound,
    Outage,
    RateLimited,
    Side,
    Transient,
)
from engine.http import HttpClient
from engine.transfer.context import Context
from engine.transfer.throttling import breaker
from engine.transfer.throttling.retry import RetryPolicy
from engine.transfer.throttling.throttle import Endpoint, Throttles

pytestmark = pytest.mark.anyio

QUICK = RetryPolicy(attempts=3, base_s=0.001, cap_s=0.002)
SECRET = "s3cr3t-key"


class Server:
    """Answers with the given replies in turn, and keeps what it was sent."""

    def __init__(self, *replies: web.Response, delay_s: float = 0.0) -> None:
        self.replies = list(replies)
        self.delay_s = delay_s
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.raw_path, dict(request.headers), await request.read()))
        await anyio.sleep(self.delay_s)
        return self.replies.pop(0) if self.replies else web.json_response({"ok": True})


@asynccontextmanager
async def serving(
    *replies: web.Response, delay_s: float = 0.0
) -> AsyncGenerator[tuple[Server, HttpClient, Context]]:
    server = Server(*replies, delay_s=delay_s)
    app = web.Application(client_max_size=2**23)
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    context = Context(spool=Path(os.devnull))
    try:
        async with HttpClient(
            Side.DESTINATION, context, headers={"Authorization": SECRET}, policy=QUICK
        ) as client:
            yield server, client, context
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, "bad value", CommError),
        (401, "", AuthError),
        (403, "", AuthError),
        (404, "", NotFound),
        (410, "", NotFound),
        (409, "", Conflict),
        (412, "", Conflict),
        (413, "", CommError),
        (422, "", CommError),
        (429, "", RateLimited),
        (500, "", Transient),
        (501, "", CommError),
        (402, "", CommError),
        (502, "<html>", Transient),
        (503, "down for maintenance", Transient),
        (503, "<Error><Code>SlowDown</Code></Error>", RateLimited),
        (403, '{"error": {"message": "rateLimitExceeded"}}', RateLimited),
        (400, "<Error><Code>RequestTimeout</Code></Error>", Transient),
        (400, "<Error><Code>BadDigest</Code></Error>", Transient),
        (400, "<Error><Code>IncompleteBody</Code></Error>", Transient),
        (408, "", Transient),
    ],
)
def test_an_answer_means_what_its_status_and_body_say(status: int, body: str, expected: type[EngineError]):
    error = error_of(Response(status, {}, body.encode()))
    assert type(error) is expected
    assert error is not None
    assert error.status == status


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"errors": [{"message": "no such field"}]}', "no such field"),
        ('{"error": "plain words"}', "plain words"),
        ('{"error": {"message": "inner words"}}', "inner words"),
        ('{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "No run"}', "RESOURCE_DOES_NOT_EXIST: No run"),
        ("<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>", "gone"),
        ("<html><title>Login</title></html>", "Login"),
        ("just text", "just text"),
    ],
)
def test_an_error_carries_the_servers_own_words(body: str, words: str):
    assert words in str(error_of(Response(400, {}, body.encode())))


def test_a_quota_that_is_used_up_says_what_to_do():
    error = error_of(Response(402, {}, b'{"errors": [{"message": "storage limit exceeded"}]}'))
    assert error is not None
    assert "storage limit exceeded" in str(error)
    assert "make room or raise it" in str(error)


def test_json_with_bare_nan_is_read():
    assert math.isnan(parse_json(b'{"a": NaN}')["a"])
    assert parse_json(b'{"a": -Infinity}')["a"] == -math.inf


def test_what_is_not_json_is_an_error_that_shows_it():
    with pytest.raises(CommError, match="<html>"):
        parse_json(b"<html>")


def test_retry_after_is_seconds_or_a_date():
    assert retry_after_s({"Retry-After": "1.5"}) == 1.5
    assert retry_after_s({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after_s({"Retry-After": "soon"}) is None
    assert retry_after_s({}) is None


async def test_credentials_go_with_requests_but_not_with_anonymous_ones():
    async with serving() as (server, client, _):
        await client.request("GET", f"{server.url}/a", endpoint=Endpoint.GRAPHQL)
        await client.request("PUT", f"{server.url}/b", endpoint=Endpoint.OBJECTS, body=b"x", anonymous=True)
    assert server.requests[0][2]["Authorization"] == SECRET
    assert "Authorization" not in server.requests[1][2]


async def test_a_signed_url_goes_out_byte_for_byte():
    signed = "/o/a%20b%2Fc?sig=A%2FB%3D%3D&x=%7E"
    async with serving() as (server, client, _):
        await client.request("GET", server.url + signed, endpoint=Endpoint.OBJECTS, anonymous=True)
    assert server.requests[0][1] == signed


async def test_a_body_is_sent_again_from_its_start():
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first "
        yield b"second"

    async with serving(web.Response(status=500)) as (server, client, context):
        answer = await client.request("PUT", f"{server.url}/a", endpoint=Endpoint.OBJECTS, body=pieces)
    assert answer.json() == {"ok": True}
    assert [request[3] for request in server.requests] == [b"first second"] * 2
    assert context.counters.requests == 2


async def test_a_large_body_in_memory_goes_out_whole_and_with_its_length():
    body = os.urandom(3 * 2**20)
    async with serving() as (server, client, _):
        await client.request("POST", server.url, endpoint=Endpoint.GRAPHQL, body=body)
    _, _, headers, received = server.requests[0]
    assert received == body
    assert headers["Content-Length"] == str(len(body))


@asynccontextmanager
async def deaf() -> AsyncGenerator[str]:
    """A server that accepts connections and never reads."""
    connections: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    # With a small limit the stream stops reading at once.
    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        for writer in connections:
            writer.transport.abort()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_peer_that_stops_taking_bytes_is_given_up(streamed: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bodies, "STALL_S", 0.2)
    content = bytes(64 * 2**20)  # more than any buffer in between

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 2**18):
            yield content[start : start + 2**18]

    context = Context(spool=Path(os.devnull))
    async with deaf() as url, HttpClient(Side.DESTINATION, context, policy=QUICK) as client:
        with anyio.fail_after(20), pytest.raises(Transient, match="PUT failed: timed out"):
            await client.request("PUT", url, endpoint=Endpoint.OBJECTS, body=pieces if streamed else content)
    assert context.counters.requests == QUICK.attempts


async def test_a_source_that_takes_its_time_is_no_stall(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bodies, "STALL_S", 0.05)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first "
        await anyio.sleep(0.2)
        yield b"second"

    async with serving() as (server, client, context):
        await client.request("PUT", server.url, endpoint=Endpoint.OBJECTS, body=pieces)
    assert server.requests[0][3] == b"first second"
    assert context.counters.requests == 1


async def test_an_answer_may_take_longer_than_a_stall(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bodies, "STALL_S", 0.05)
    async with serving(delay_s=0.2) as (server, client, context):
        await client.request("PUT", server.url, endpoint=Endpoint.OBJECTS, body=bytes(2**20))
    assert context.counters.requests == 1


async def test_a_page_for_people_is_no_answer_to_a_write():
    page = web.Response(text="<html><title>Maintenance</title></html>", content_type="text/html")
    async with serving(page) as (server, client, context):
        await client.request("PUT", server.url, endpoint=Endpoint.OBJECTS, body=b"x")
    assert context.counters.requests == 2


async def test_a_page_that_stays_is_told_with_its_title():
    pages = [
        web.Response(text="<html><title>Log in</title></html>", content_type="text/html") for _ in range(3)
    ]
    async with serving(*pages) as (server, client, _):
        with pytest.raises(Transient, match=r"web page in the place of an answer: Log in.*proxy or login"):
            await client.request("POST", server.url, endpoint=Endpoint.GRAPHQL, body=b"{}")


async def test_an_empty_answer_is_no_page_whatever_its_type():
    async with serving(web.Response(content_type="text/html")) as (server, client, context):
        answer = await client.request("PUT", server.url, endpoint=Endpoint.OBJECTS, body=b"x")
    assert (answer.status, answer.body, context.counters.requests) == (200, b"", 1)


async def test_an_object_that_is_a_page_is_read_as_it_is():
    page = web.Response(text="<html><title>Report</title></html>", content_type="text/html")
    async with serving(page) as (server, client, _):
        answer = await client.request("GET", server.url, endpoint=Endpoint.MLFLOW_ARTIFACTS)
    assert answer.body.startswith(b"<html>")


async def test_what_is_not_idempotent_is_sent_once():
    async with serving(web.Response(status=500)) as (server, client, _):
        with pytest.raises(Transient):
            await client.request("POST", f"{server.url}/a", endpoint=Endpoint.GRAPHQL, retry=False)
    assert len(server.requests) == 1


async def test_an_error_names_side_and_object_and_hides_the_query():
    async with serving(web.Response(status=404, text="gone")) as (server, client, _):
        with pytest.raises(NotFound) as caught:
            await client.request("GET", f"{server.url}/a?sig={SECRET}", endpoint=Endpoint.OBJECTS)
    assert "destination" in str(caught.value)
    assert "/a" in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_an_unreachable_server_is_named():
    context = Context(spool=Path(os.devnull))
    async with HttpClient(Side.SOURCE, context, policy=RetryPolicy(attempts=1)) as client:
        with pytest.raises(Transient, match=r"source: .*cannot connect.*127\.0\.0\.1:9") as caught:
            await client.request("GET", "http://127.0.0.1:9/x", endpoint=Endpoint.MLFLOW_REST)
    assert caught.value.side is Side.SOURCE


async def test_what_is_no_url_is_an_error():
    context = Context(spool=Path(os.devnull))
    async with HttpClient(Side.SOURCE, context, policy=QUICK) as client:
        with pytest.raises(CommError):
            await client.request("GET", "nonsense", endpoint=Endpoint.MLFLOW_REST)


async def test_a_vendor_can_read_an_answer_in_its_own_way():
    def classify(response: Response) -> EngineError | None:
        return Conflict("theirs") if b"errors" in response.body else None

    async with (
        serving(web.json_response({"errors": []})) as (server, _, context),
        HttpClient(Side.SOURCE, context, classify=classify) as client,
    ):
        with pytest.raises(Conflict, match="theirs"):
            await client.request("POST", f"{server.url}/graphql", endpoint=Endpoint.GRAPHQL)


async def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch):
    async with serving() as (server, _, context):
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("no_proxy", "direct.test")
        async with HttpClient(Side.SOURCE, context) as client:
            await client.request("GET", "http://tracking.test/x", endpoint=Endpoint.MLFLOW_REST)
    assert server.requests[0][1] == "http://tracking.test/x"


async def test_an_outage_is_waited_out_and_uses_up_no_attempt(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(breaker, "OPENS_AFTER_S", 0.0)
    monkeypatch.setattr(breaker, "PROBE_FIRST_S", 0.01)
    monkeypatch.setattr(breaker, "PROBE_MOST_S", 0.02)
    # Four requests at once, three attempts each: without the breaker, twelve failures would end them all.
    down = [web.Response(status=503, text="down for maintenance") for _ in range(30)]
    async with serving(web.json_response({}), *down) as (server, client, context):
        await client.request("GET", f"{server.url}/first", endpoint=Endpoint.GRAPHQL)
        async with anyio.create_task_group() as tasks:
            for n in range(4):
                tasks.start_soon(
                    partial(client.request, "GET", f"{server.url}/{n}", endpoint=Endpoint.GRAPHQL)
                )
    assert not server.replies
    assert [state.down_s for state in context.throttles.states()] == [None]


async def test_an_outage_beyond_patience_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(breaker, "OPENS_AFTER_S", 0.0)
    monkeypatch.setattr(breaker, "PROBE_FIRST_S", 0.01)
    down = [web.Response(status=503, text="down for maintenance") for _ in range(1000)]
    async with serving(web.json_response({}), *down) as (server, client, context):
        context.throttles = Throttles(patience_s=0.05)
        await client.request("GET", f"{server.url}/first", endpoint=Endpoint.GRAPHQL)
        caught: list[EngineError] = []

        async def ask(n: int) -> None:
            try:
                await client.request("GET", f"{server.url}/{n}", endpoint=Endpoint.GRAPHQL)
            except EngineError as error:
                caught.append(error)

        async with anyio.create_task_group() as tasks:
            for n in range(4):
                tasks.start_soon(ask, n)
    assert any(isinstance(error, Outage) and "destination" in str(error) for error in caught)
