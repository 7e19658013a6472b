"""What can happen to a request."""

# ruff: noqa: ARG002 - one signature for all acts, of which few need every argument

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass, field
from statistics import NormalDist

from aiohttp import web

from engine.sandbox.faults import wire
from engine.sandbox.faults.buckets import TokenBucket, Window
from engine.sandbox.faults.refusals import Refusal
from engine.sandbox.faults.requests import Handler

QUOTA = web.RequestKey("quota", dict[str, str])
"""Headers that tell of a quota, for the answer to a request."""

_P99 = NormalDist().inv_cdf(0.99)

_PAGE = """<!doctype html><html><head><title>Please wait</title></head>
<body><h1>We are working on it</h1><p>This page stands where your answer should be.</p></body></html>"""


class _Always:
    """Acts on whatever its rule chose."""

    __slots__ = ()

    def applies(self, request: web.Request, now: float) -> bool:
        return True


@dataclass(slots=True)
class Refuse(_Always):
    """Answers with an error instead of doing anything."""

    refusal: Refusal

    async def answer(self, request: web.Request, handler: Handler, draw: random.Random) -> web.StreamResponse:
        return self.refusal.response(request)


@dataclass(slots=True)
class Limit:
    """Refuses what a token bucket does not allow; what it allows, clients cannot see."""

    bucket: TokenBucket
    refusal: Refusal

    def applies(self, request: web.Request, now: float) -> bool:
        return not self.bucket.take(now)

    async def answer(self, request: web.Request, handler: Handler, draw: random.Random) -> web.StreamResponse:
        return self.refusal.response(request, wait_s=self.bucket.wait_s())


@dataclass(slots=True)
class Quota:
    """Refuses what exceeds the quota of a window, and tells with every answer what is left of it."""

    window: Window
    refusal: Refusal

    def applies(self, request: web.Request, now: float) -> bool:
        allowed = self.window.take(now)
        request[QUOTA] = {
            "RateLimit-Remaining": str(self.window.left),
            "RateLimit-Reset": str(math.ceil(self.window.wait_s())),
        }
        return not allowed

    async def answer(self, request: web.Request, handler: Handler, draw: random.Random) -> web.StreamResponse:
        return self.refusal.response(request, wait_s=self.window.wait_s())


@dataclass(slots=True)
class Page(_Always):
    """Answers with a page of HTML and status 200, as a proxy or a login does."""

    async def answer(self, request: web.Request, handler: Handler, draw: random.Random) -> web.StreamResponse:
        return web.Response(text=_PAGE, content_type="text/html")


@dataclass(slots=True)
class Delay(_Always):
    """Lets a request wait: for a fixed time, one spread evenly, or one of a lognormal distribution.

    Attributes:
        median_s: in the middle of them all.
        spread_s: even spread to both sides of it.
        p99_s: 99 of 100 wait less; makes the distribution lognormal.
    """

    median_s: float
    spread_s: float = 0.0
    p99_s: float | None = None

    async def answer(self, request: web.Request, handler: Handler, draw: random.Random) -> web.StreamResponse:
        await asyncio.sleep(self.seconds(draw))
        return await handler(request)

    def seconds(self, draw: random.Random) -> float:
        if self.p99_s is not None:
            return draw.lognormvariate(math.log(self.median_s), math.log(self.p99_s / self.median_s) / _P99)
        return max(0.0, self.median_s + draw.uniform(-self.spread_s, self.spread_s))


@dataclass(slots=True)
class Expire:
    """Refuses presigned URLs as expired, or lets those that are handed out live for a short time only.

    Attributes:
        after_s: how long URLs live; None refuses them at once.
    """

    after_s: float | None = None
    refusal: Refusal = field(default_factory=lambda: Refusal("AccessDenied", "Request has expired"))

    def applies(self, request: web.Request, now: float) -> bool:
        return self.after_s is None

    async def answer(self, request: web.Request, handler: Handler, draw: random.Random) -> web.StreamResponse:
        return self.refusal.response(request)


@dataclass(slots=True)
class Break(_Always):
    """Breaks the connection before, in the middle of, or instead of something.

    Attributes:
        at: ``""`` before anything is read; ``mid-request``; ``mid-response``; ``answer``: all is done, but
            nobody is told.
    """

    at: str = ""

    async def answer(self, request: web.Request, handler: Handler, draw: random.Random) -> web.StreamResponse:
        match self.at:
            case "mid-request":
                await wire.harm_body(request, lambda _piece, _at: _broken(request))
            case "mid-response":
                wire.Cut(request, by_reset=True)
            case "answer":
                wire.Silence(request)
            case _:
                await _broken(request)
        return await handler(request)


async def _broken(request: web.Request) -> bytes:
    wire.reset(request.transport)
    raise wire.GoneError("broken on purpose")


@dataclass(slots=True)
class Truncate(_Always):
    """Ends the answer in its middle; ``silently`` announces no more than that."""

    silently: bool = False

    async def answer(self, request: web.Request, handler: Handler, draw: random.Random) -> web.StreamResponse:
        if request.method != "HEAD":
            if self.silently:
                wire.Short(request)
            else:
                wire.Cut(request, by_reset=False)
        return await handler(request)


@dataclass(slots=True)
class Stall(_Always):
    """Stops before the request, in the middle of reading it, or in the middle of the answer; then goes on."""

    seconds: float
    at: str = ""

    async def answer(self, request: web.Request, handler: Handler, draw: random.Random) -> web.StreamResponse:
        match self.at:
            case "mid-request":
                await wire.harm_body(request, self._hold)
            case "mid-response":
                wire.Held(request, self.seconds)
            case _:
                await asyncio.sleep(self.seconds)
        return await handler(request)

    async def _hold(self, piece: bytes, at: int) -> bytes:
        await asyncio.sleep(self.seconds)
        return piece


@dataclass(slots=True)
class Corrupt(_Always):
    """Changes one bit in the middle of what is received or sent."""

    sent: bool

    async def answer(self, request: web.Request, handler: Handler, draw: random.Random) -> web.StreamResponse:
        if not self.sent:
            await wire.harm_body(request, _flip)
        elif request.method != "HEAD":
            wire.Corrupted(request)
        return await handler(request)


async def _flip(piece: bytes, at: int) -> bytes:
    return wire.flipped(piece, at)
