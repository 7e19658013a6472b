"""Clocks that disagree are told before signatures fail."""

from __future__ import annotations

import time
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web

from engine.errors import Side
from engine.http import HttpClient
from engine.transfer.context import Context
from engine.transfer.throttling.clocks import Clocks
from engine.transfer.throttling.throttle import Endpoint
from tests.mlflow.local import serving

pytestmark = pytest.mark.anyio


def noted(ahead_s: float, *, host: str = "h:1") -> Clocks:
    clocks = Clocks()
    clocks.note(Side.DESTINATION, host, {"Date": formatdate(time.time() + ahead_s, usegmt=True)})
    return clocks


@pytest.mark.parametrize("ahead_s", [0, 50, -50])
def test_a_difference_of_less_than_a_minute_is_nobodys_business(ahead_s: float):
    clocks = noted(ahead_s)

    assert [*clocks.warnings(), *clocks.errors()] == []


@pytest.mark.parametrize(("ahead_s", "told"), [(300, "5 minutes ahead of"), (-240, "4 minutes behind")])
def test_minutes_are_warned_of(ahead_s: float, told: str):
    clocks = noted(ahead_s)

    (warning,) = clocks.warnings()
    assert warning.kind == "clock_skew"
    assert f"the clock of h:1 is {told}" in warning.message
    assert warning.side is Side.DESTINATION
    assert not list(clocks.errors())


@pytest.mark.parametrize("ahead_s", [1_000, -100_000])
def test_beyond_what_object_stores_tolerate_it_is_an_error(ahead_s: float):
    clocks = noted(ahead_s)

    (error,) = clocks.errors()
    assert "NTP" in str(error)
    assert not list(clocks.warnings())


@pytest.mark.parametrize("headers", [{}, {"Date": "yesterday"}])
def test_a_server_that_tells_no_time_is_left_alone(headers: dict[str, str]):
    clocks = Clocks()

    clocks.note(Side.SOURCE, "h:1", headers)

    assert not clocks.ahead_s


async def test_every_host_is_looked_at_once_by_its_first_answer(tmp_path: Path):
    answers = 0

    async def late(_: web.Request) -> web.Response:
        nonlocal answers
        answers += 1
        return web.Response(headers={"Date": formatdate(time.time() - 500 * answers, usegmt=True)})

    context = Context(spool=tmp_path)
    async with serving(late) as url, HttpClient(Side.SOURCE, context) as http:
        for _ in range(2):
            await http.request("GET", url, endpoint=Endpoint.MLFLOW_REST)

    ((side, host), ahead_s), *others = context.clocks.ahead_s.items()
    assert (side, f"http://{host}", others) == (Side.SOURCE, url, [])
    assert ahead_s == pytest.approx(-500, abs=2)
