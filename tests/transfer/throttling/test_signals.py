"""What servers say of their limits and troubles, in all the ways in which they say it."""

from __future__ import annotations

import email.utils
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from engine.answers import retry_after_s
from engine.errors import (
    AuthError,
    CommError,
    Conflict,
    EngineError,
    NotFound,
    RateLimited,
    Side,
    Transient,
    Unsupported,
)
from engine.http import HttpClient
from engine.transfer.context import Context
from engine.transfer.throttling.quota import quota_of
from engine.transfer.throttling.retry import RetryPolicy
from engine.transfer.throttling.throttle import Endpoint, Throttle
from engine.wandb.client import classify

pytestmark = pytest.mark.anyio

S3 = '<?xml version="1.0"?><Error><Code>{}</Code><Message>said so</Message></Error>'


@asynccontextmanager
async def exchange(
    *answers: web.Response, policy: RetryPolicy, side: Side = Side.DESTINATION
) -> AsyncGenerator[tuple[HttpClient, str, list[float]]]:
    """A client, a URL that gives the answers in turn and then 200, and when it was asked."""
    left, asked = list(answers), []

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        asked.append(time.monotonic())
        return left.pop(0) if left else web.json_response({"data": {}})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    context = Context(spool=Path(os.devnull))
    try:
        async with HttpClient(side, context, policy=policy, classify=classify) as client:
            yield client, f"http://127.0.0.1:{runner.addresses[0][1]}/object?X-Amz-Signature=secret", asked
    finally:
        await runner.cleanup()


def only_throttle(client: HttpClient) -> Throttle:
    (throttle,) = client._context.throttles._throttles.values()
    return throttle


def xml(status: int, code: str, **headers: str) -> web.Response:
    return web.Response(status=status, text=S3.format(code), content_type="application/xml", headers=headers)


def said(status: int, **body: object) -> web.Response:
    return web.json_response(body, status=status)


def in_words(message: str, status: int = 200) -> web.Response:
    return said(status, data=None, errors=[{"message": message}])


THROTTLED = {
    "429": lambda: web.Response(status=429),
    "420": lambda: web.Response(status=420),
    "S3 SlowDown": lambda: xml(503, "SlowDown"),
    "S3 by its words alone": lambda: web.Response(status=503, text="Please reduce your request rate."),
    "S3 RequestLimitExceeded": lambda: xml(503, "RequestLimitExceeded"),
    "AWS ThrottlingException": lambda: said(400, __type="ThrottlingException"),
    "GCS 429": lambda: said(429, error={"code": 429, "message": "rateLimitExceeded"}),
    "GCS 403 rateLimitExceeded": lambda: said(403, error={"errors": [{"reason": "rateLimitExceeded"}]}),
    "GCS 403 userRateLimitExceeded": lambda: said(
        403, error={"errors": [{"reason": "userRateLimitExceeded"}]}
    ),
    "GCS 408 with a word": lambda: said(408, error={"message": "rateLimitExceeded"}),
    "Azure ServerBusy": lambda: xml(503, "ServerBusy"),
    "Databricks 429": lambda: said(429, error_code="REQUEST_LIMIT_EXCEEDED", message="too many"),
    "Databricks 403": lambda: said(403, error_code="REQUEST_LIMIT_EXCEEDED", message="too many"),
    "MLflow 429": lambda: said(429, error_code="RESOURCE_EXHAUSTED", message="slow down"),
    "W&B GraphQL with 200": lambda: in_words("rate limit exceeded"),
    "W&B GraphQL with 400": lambda: in_words("Too many requests, filestream", 400),
    "W&B GraphQL with 429": lambda: in_words("nothing about it", 429),
}


@pytest.mark.parametrize("name", THROTTLED)
async def test_it_slows_down_and_uses_up_no_attempt(name: str):
    policy = RetryPolicy(attempts=2, base_s=0.001, cap_s=0.002)
    answers = [THROTTLED[name]() for _ in range(6)]
    async with exchange(*answers, policy=policy) as (client, url, asked):
        await client.request("POST", url, endpoint=Endpoint.GRAPHQL)
        assert len(asked) == 7
        assert only_throttle(client).rejected == 6


TRANSIENT = {
    "S3 RequestTimeout 400": lambda: xml(400, "RequestTimeout"),
    "S3 BadDigest 400": lambda: xml(400, "BadDigest"),
    "GCS 408": lambda: web.Response(status=408),
    "425": lambda: web.Response(status=425),
    "500": lambda: web.Response(status=500),
    "S3 InternalError": lambda: xml(500, "InternalError"),
    "503 without a word of limits": lambda: web.Response(status=503, text="down for maintenance"),
    "a page with 200": lambda: web.Response(
        text="<!doctype html><title>Log in</title>", content_type="text/html"
    ),
    "a page with 502": lambda: web.Response(
        status=502, text="<html><title>Bad Gateway</title></html>", content_type="text/html"
    ),
    "W&B GraphQL with 200": lambda: in_words("context deadline exceeded"),
}


@pytest.mark.parametrize("name", TRANSIENT)
async def test_it_is_tried_again_but_not_for_ever_and_slows_nobody_down(name: str):
    policy = RetryPolicy(attempts=3, base_s=0.001, cap_s=0.002)
    answers = [TRANSIENT[name]() for _ in range(6)]
    async with exchange(*answers, policy=policy) as (client, url, asked):
        with pytest.raises(Transient):
            await client.request("POST", url, endpoint=Endpoint.GRAPHQL)
        assert len(asked) == 3
        assert only_throttle(client).rejected == 0


def in_a_second() -> str:
    # Dates have no fractions: two seconds ahead is between one and two away.
    return email.utils.formatdate(time.time() + 2, usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("as_date", [False, True])
async def test_the_named_time_is_waited(status: int, as_date: bool):
    policy = RetryPolicy(attempts=2, base_s=0.001, cap_s=0.002)
    busy = web.Response(status=status, headers={"Retry-After": in_a_second() if as_date else "0.3"})
    async with exchange(busy, policy=policy) as (client, url, asked):
        await client.request("GET", url, endpoint=Endpoint.OBJECTS)
        assert asked[1] - asked[0] >= (0.9 if as_date else 0.3)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("0", 0, 0),
        ("1.5", 1.5, 1.5),
        ("120", 120, 120),
        ("-3", 0, 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("soon", None, None),
        ("", None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, least: float | None, most: float | None):
    wait_s = retry_after_s({"Retry-After": value})
    assert wait_s is None if least is None or most is None else wait_s is not None and least <= wait_s <= most


def test_retry_after_may_be_a_date_to_come() -> None:
    wait_s = retry_after_s({"Retry-After": email.utils.formatdate(time.time() + 3600, usegmt=True)})
    assert wait_s is not None
    assert 3500 <= wait_s <= 3601


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        ({"RateLimit-Remaining": "12", "RateLimit-Reset": "30"}, (12, 30)),
        ({"X-RateLimit-Remaining": "12", "X-RateLimit-Reset": "30"}, (12, 30)),
        ({"RateLimit-Limit": "100", "RateLimit-Remaining": "0", "RateLimit-Reset": "1.5"}, (0, 1.5)),
        ({"RateLimit": '"api";r=12;t=30'}, (12, 30)),
        ({"RateLimit": "limit=100, remaining=12, reset=30"}, (12, 30)),
        ({"RateLimit-Remaining": "12"}, None),
        ({"RateLimit-Remaining": "many", "RateLimit-Reset": "30"}, None),
        ({"RateLimit": "nonsense"}, None),
        ({}, None),
    ],
)
def test_quotas_are_read_in_the_forms_in_which_they_come(
    headers: dict[str, str], quota: tuple[float, float] | None
):
    assert quota_of(headers) == quota


def test_a_reset_may_be_a_moment():
    told = quota_of({"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": str(int(time.time()) + 60)})
    assert told is not None
    assert told[1] == pytest.approx(60, abs=2)


async def test_a_quota_that_an_answer_tells_paces_what_follows():
    policy = RetryPolicy(attempts=2)
    told = web.json_response({"data": {}}, headers={"RateLimit-Remaining": "40", "RateLimit-Reset": "4"})
    async with exchange(told, policy=policy) as (client, url, asked):
        for _ in range(6):
            await client.request("POST", url, endpoint=Endpoint.GRAPHQL)
        assert asked[5] - asked[1] >= 0.35


FINAL: dict[str, tuple[Callable[[], web.Response], type[EngineError]]] = {
    "400": (lambda: web.Response(status=400, text="bad value"), CommError),
    "401": (lambda: web.Response(status=401), AuthError),
    "403": (lambda: web.Response(status=403), AuthError),
    "404": (lambda: web.Response(status=404), NotFound),
    "409": (lambda: web.Response(status=409), Conflict),
    "410": (lambda: web.Response(status=410), NotFound),
    "412": (lambda: web.Response(status=412), Conflict),
    "413": (lambda: web.Response(status=413), CommError),
    "422": (lambda: web.Response(status=422), CommError),
    "500": (lambda: web.Response(status=500), Transient),
    "501": (lambda: web.Response(status=501), CommError),
    "503": (lambda: web.Response(status=503), Transient),
    "a page": (lambda: web.Response(text="<html><title>Log in</title>", content_type="text/html"), Transient),
    "a field that is not known": (lambda: in_words('Cannot query field "x" on type "Y".'), Unsupported),
    "an error in words": (lambda: in_words("something else"), CommError),
    "a missing right in words": (lambda: in_words("permission denied"), AuthError),
    "a limit": (lambda: web.Response(status=429), RateLimited),
}


@pytest.mark.parametrize("name", FINAL)
@pytest.mark.parametrize("side", [Side.SOURCE, Side.DESTINATION])
async def test_a_final_error_names_side_object_cause_attempts_and_what_to_do(name: str, side: Side):
    answer, kind = FINAL[name]
    attempts = 3
    answers = [answer() for _ in range(attempts)]
    policy = RetryPolicy(attempts=attempts, base_s=0.001, cap_s=0.002)
    async with exchange(*answers, policy=policy, side=side) as (client, url, asked):
        with pytest.raises(EngineError) as caught:
            # Throttling is waited out for ever, so that only a call that may not be repeated ends with it.
            await client.request("POST", url, endpoint=Endpoint.OBJECTS, retry=kind is not RateLimited)
        error = caught.value
        told = str(error)
        assert isinstance(error, kind)
        assert told.startswith(f"{side}: ")
        assert "/object]" in told
        assert "secret" not in told
        assert error.message in told
        assert error.attempts == len(asked) == (attempts if kind is Transient else 1)
        assert ("3 times" in told) is (kind is Transient)
        assert error.advice
        assert told.endswith(f"({error.advice})")


async def test_a_server_that_is_not_there_is_named_with_what_to_check():
    policy = RetryPolicy(attempts=2, base_s=0.001, cap_s=0.002)
    async with exchange(policy=policy) as (client, _, _asked):
        with pytest.raises(Transient) as caught:
            await client.request("GET", "http://127.0.0.1:1/x?secret", endpoint=Endpoint.OBJECTS)
    told = str(caught.value)
    assert "destination: GET failed: cannot connect" in told
    assert "2 times [http://127.0.0.1:1/x]" in told
    assert "are host and port right?" in told
    assert "secret" not in told
