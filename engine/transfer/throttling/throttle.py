"""Who may send, and when: one throttle per host and class of endpoint, shared by the whole process.

A throttle bounds how many requests are in flight (``crowding.py``), paces when they leave (``pacing.py``),
and waits while the server is down (``breaker.py``). It learns from every answer: rejects, ``Retry-After``,
``RateLimit-*`` headers, how long an answer takes, and connections that break.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import anyio

from engine.errors import Outage
from engine.transfer.throttling.breaker import ITSELF, PATIENCE_S, Breaker
from engine.transfer.throttling.crowding import Crowding
from engine.transfer.throttling.pacing import Pacer
from engine.transfer.throttling.quota import quota_of


class Endpoint(StrEnum):
    """Classes of endpoints that servers limit separately."""

    GRAPHQL = "graphql"
    FILESTREAM = "filestream"
    OBJECTS = "objects"
    MLFLOW_REST = "mlflow-rest"
    MLFLOW_ARTIFACTS = "mlflow-artifacts"


DEFAULT_CONCURRENCY = {
    Endpoint.GRAPHQL: 16,
    Endpoint.FILESTREAM: 16,
    Endpoint.OBJECTS: 32,
    Endpoint.MLFLOW_REST: 8,
    Endpoint.MLFLOW_ARTIFACTS: 16,
}

LEAST_SLOTS = 4

SPARE_SLOTS = 1.5
"""Slots for each request that the paced rate has in flight on average: more would only queue."""


@dataclass(frozen=True, slots=True)
class ThrottleState:
    """What a throttle knows, for people and metrics.

    ``rate`` is infinite until something was rejected; ``down_s`` is for how long the server is gone.
    """

    host: str
    endpoint: Endpoint
    rate: float
    slots: int
    in_flight: int
    sent: int
    rejected: int
    round_trip_s: float | None
    down_s: float | None


class Throttle:
    """Admits requests to one class of endpoint of one host.

    Args:
        concurrency: requests in flight at most.
        max_rate: requests per second at most, None for any number.
        patience_s: how long an outage is waited out.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        concurrency: int,
        *,
        max_rate: float | None = None,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pacer = Pacer(max_rate=max_rate)
        self.breaker = Breaker(patience_s)
        self.sent = 0
        self.rejected = 0
        self._crowding = Crowding(concurrency)
        self._slots = anyio.CapacityLimiter(concurrency)
        self._turn = anyio.Lock(fast_acquire=True)
        self._clock = clock

    def slot(self) -> Ticket:
        """A place and the moment to send, to be waited for by ``async with``; first come, first served."""
        return Ticket(self)

    async def _admit(self, ticket: Ticket) -> float:
        """Wait for a place and for the moment to send, and return it. Cancelled meanwhile, nothing is taken.

        The ticket is the borrower, because one task may hold several slots, of several requests.

        Raises:
            Outage: the server is down for too long.
        """
        # Asking first saves a round of the event loop for each request, as does the lock's fast way.
        try:
            self._slots.acquire_on_behalf_of_nowait(ticket)
        except anyio.WouldBlock:
            await self._slots.acquire_on_behalf_of(ticket)
        try:
            now = self._clock()
            if self._turn.locked() or self._delay(now) > 0:
                now = await self._wait_for_turn()
        except BaseException:
            self._slots.release_on_behalf_of(ticket)
            raise
        self.pacer.sent(now)
        self.breaker.admit()
        self.sent += 1
        return now

    def _release(self, ticket: Ticket) -> None:
        self.breaker.abandoned()
        self._slots.release_on_behalf_of(ticket)

    async def _wait_for_turn(self) -> float:
        """Wait in line for the moment to send, and return it."""
        async with self._turn:
            # The moment may be put off while it is slept through, so this is asked again.
            while (delay := self._delay(now := self._clock())) > 0:  # noqa: ASYNC110
                await anyio.sleep(delay)
            return now

    def _delay(self, now: float) -> float:
        if self.breaker.exhausted(now):
            raise Outage(
                f"not answering for {self.breaker.patience_s:.0f} s",
                remedy="run the same command again when it is back; what arrived stays",
            )
        return max(self.breaker.delay(now), self.pacer.delay(now))

    @property
    def slots(self) -> int:
        return int(self._slots.total_tokens)

    @property
    def down_s(self) -> float | None:
        """For how long the server is gone, None if it is there."""
        since = self.breaker.down_since
        return None if since is None else self._clock() - since

    @property
    def in_flight(self) -> int:
        return self._slots.borrowed_tokens

    def _adapt(self) -> None:
        """Once the rate is known, hold no more connections than it can use."""
        rate, round_trip_s = self.pacer.rate, self.pacer.round_trip_s
        slots = int(self._crowding.places)
        if math.isfinite(rate) and round_trip_s is not None:
            slots = min(slots, LEAST_SLOTS + math.ceil(SPARE_SLOTS * rate * round_trip_s))
        if slots != self._slots.total_tokens:
            self._slots.total_tokens = max(1, slots)

    def _accepted(self, sent: float, *, small: bool) -> None:
        now = self._clock()
        self.breaker.succeeded(now)
        self.pacer.accepted(now, now - sent)
        self._crowding.answered(now, now - sent, small=small, in_flight=self.in_flight)
        self._adapt()

    def _rejected(self, sent: float, retry_after_s: float | None) -> None:
        now = self._clock()
        self.rejected += 1
        self.breaker.succeeded(now)
        self.pacer.rejected(now, retry_after_s, refusal_s=now - sent)
        self._adapt()

    def _failed(self, request: str, *, sure: bool, broke: bool) -> bool:
        now = self._clock()
        self.breaker.failed(now, request, sure=sure)
        if broke:
            self._crowding.broke(now)
            self._adapt()
        return self.breaker.down_since is not None


class Ticket:
    """Permission to send one request, for the length of a block; what comes of it teaches the throttle."""

    # No generator, since that would cost a small request as much as all other bookkeeping.
    __slots__ = ("_sent", "_throttle")

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle

    async def __aenter__(self) -> Self:
        self._sent = await self._throttle._admit(self)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._throttle._release(self)

    def accepted(self, *, small: bool = True) -> None:
        """The server took the request, whatever it answered.

        Args:
            small: whether the size of the request has no say in how long it took.
        """
        self._throttle._accepted(self._sent, small=small)

    def rejected(self, retry_after_s: float | None = None) -> None:
        """The server asked for less traffic."""
        self._throttle._rejected(self._sent, retry_after_s)

    def failed(self, request: str, *, sure: bool = True, broke: bool = False) -> bool:
        """The server did not answer, or cannot work at all. True if that is part of an outage.

        Args:
            sure: False for an error that may as well be that of one object.
            broke: whether there was no answer.
        """
        return self._throttle._failed(request, sure=sure, broke=broke)

    @property
    def is_doubtful(self) -> bool:
        """Whether the server itself has to be asked if it is there; ``witness`` takes its answer."""
        return self._throttle.breaker.doubtful(self._throttle._clock())

    def witness(self, *, is_there: bool) -> bool:
        """What the server itself said. True if there is an outage."""
        breaker, now = self._throttle.breaker, self._throttle._clock()
        if is_there:
            breaker.succeeded(now)
        else:
            breaker.failed(now, ITSELF)
        return breaker.down_since is not None

    def headers(self, headers: Mapping[str, str]) -> None:
        """Take note of what the server tells of its quota."""
        if (quota := quota_of(headers)) is not None:
            self._throttle.pacer.quota(self._throttle._clock(), *quota)


class Throttles:
    """The throttles of one process, made as they are needed.

    Args:
        concurrency: requests in flight for each throttle; None for what suits its class.
        max_rate: requests per second for each throttle.
        patience_s: how long an outage is waited out.
    """

    def __init__(
        self,
        concurrency: int | None = None,
        max_rate: float | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._concurrency = concurrency
        self._max_rate = max_rate
        self._patience_s = patience_s
        self._throttles: dict[tuple[str, Endpoint], Throttle] = {}

    def of(self, host: str, endpoint: Endpoint) -> Throttle:
        """The throttle of a host (with its port) and class of endpoint."""
        key = (host, endpoint)
        if key not in self._throttles:
            concurrency = self._concurrency or DEFAULT_CONCURRENCY[endpoint]
            throttle = Throttle(concurrency, max_rate=self._max_rate, patience_s=self._patience_s)
            # What answered something else is there, though nobody asked it for this before.
            throttle.breaker.last_success = self._last_success(host)
            self._throttles[key] = throttle
        return self._throttles[key]

    def _last_success(self, host: str) -> float | None:
        """When any class of endpoint of a host answered last."""
        seen = (
            throttle.breaker.last_success for (name, _), throttle in self._throttles.items() if name == host
        )
        return max((at for at in seen if at is not None), default=None)

    def states(self) -> Iterator[ThrottleState]:
        for (host, endpoint), throttle in self._throttles.items():
            yield ThrottleState(
                host=host,
                endpoint=endpoint,
                rate=throttle.pacer.rate,
                slots=throttle.slots,
                in_flight=throttle.in_flight,
                sent=throttle.sent,
                rejected=throttle.rejected,
                round_trip_s=throttle.pacer.round_trip_s,
                down_s=throttle.down_s,
            )
