"""How much a server gives, measured where that is exact.

A token bucket that refuses is empty. What it accepted between two such moments is therefore what came in,
whatever its size; and what it accepts beyond that since the last of them shows that it gives more now.
Like the pacer these are pure state machines; the time is passed in.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

SURE_ANSWERS, SURE_S, SURE_TRIPS = 30, 1.0, 10.0
"""So many answers, seconds and round trips it takes until jitter no longer blurs a measurement."""

STALE_S = 30.0
"""A moment longer ago says nothing of today."""

SAVED_S = 1.0
"""A bucket saves for so long what is not used."""

KEPT_S = 4.0
"""How far a window of events looks back."""


@dataclass(slots=True)
class Ceiling:
    """The rate that one client is given.

    Attributes:
        rate: requests per second, infinite while unknown.
        measured: the same as it was last measured between two rejects.
        surplus: requests accepted since then beyond ``rate``; negative while the bucket may have savings.
    """

    rate: float = math.inf
    measured: float = math.inf
    surplus: float = 0.0
    _counted_at: float = 0.0
    _empty_at: float | None = None
    _since_empty: int = 0

    def accepted(self, now: float, margin: float) -> None:
        """A request was accepted; what exceeds ``rate`` by less than the share ``margin`` is no surplus."""
        self._since_empty += 1
        if math.isfinite(self.rate):
            expected = (now - self._counted_at) * self.rate * (1 + margin)
            self.surplus = max(self.surplus + 1 - expected, -SAVED_S * self.rate)
        self._counted_at = now

    def doubted(self) -> None:
        """A reject that may be a stray one: not all is well, but the bucket may have savings."""
        self.surplus = min(0.0, self.surplus)

    def met(self, now: float, round_trip_s: float) -> None:
        """Rejects that are no stray ones: the bucket is empty."""
        self.surplus, self._counted_at = 0.0, now
        if self._empty_at is None or now - self._empty_at > STALE_S:
            self._empty_at, self._since_empty = now, 0
        elif self._since_empty >= SURE_ANSWERS and now - self._empty_at > max(
            SURE_S, SURE_TRIPS * round_trip_s
        ):
            self.rate = self.measured = self._since_empty / (now - self._empty_at)
            self._empty_at, self._since_empty = now, 0


class Window:
    """Counts events of the last seconds."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def add(self, now: float) -> None:
        self._times.append(now)
        if self._times[0] < now - KEPT_S:
            self._times.popleft()

    def rate(self, now: float, length: float) -> float:
        """Events per second over the last ``length`` seconds."""
        while self._times and self._times[0] < now - KEPT_S:
            self._times.popleft()
        first = next((n for n, at in enumerate(self._times) if at >= now - length), len(self._times))
        return (len(self._times) - first) / length

    def between(self, began: float, ended: float) -> int:
        """Events from one moment to another."""
        return sum(began <= at <= ended for at in self._times)


@dataclass(slots=True)
class Trial:
    """A while of sending faster than the server gives: the share that it refuses tells how fast it gives.

    Attributes:
        began: what was sent before does not count.
        length_s: how long it lasts.
        refused: rejects of what was sent in it.
    """

    began: float
    length_s: float
    fine: bool = False
    refused: int = 0

    def rejected(self, sent: float) -> None:
        self.refused += sent >= self.began

    def share(self, now: float, sent: Window, refusal_s: float) -> float | None:
        """The share that was accepted, None while it goes on. Rejects take ``refusal_s`` to come."""
        known_until = now - refusal_s
        if known_until - self.began < self.length_s:
            return None
        return 1 - self.refused / max(1, sent.between(self.began, known_until))
