"""How many requests at the same time a server can use: more only wait for each other, or break it.

Some servers never refuse: they queue, or run out of memory and drop connections. Two signs are read.

* **Latency that grows with the crowd.** Latency alone lies: payloads and kinds of requests differ. So when
  small requests take much longer than they did, a fifth of the places is taken away on trial; only if no
  throughput is lost by it were they a queue. Otherwise they come back, and the latency is the new normal.
* **Connections that break, many at once.** The places are halved. A few among many answers are bad luck.

What was taken away comes back slowly. Like the pacer it is a pure state machine; the time is passed in.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, field

WINDOW_S, WINDOW_ANSWERS = 1.0, 30
"""Latencies are compared over so many seconds and answers."""

SLOW, SLOW_S = 2.0, 0.02
"""So many times the usual latency, and so many seconds on top, make a queue likely."""

EASY = 1.5
"""Below so many times the usual latency there is room for more."""

SHRINK = 0.8
NO_LOSS = 0.92
"""A shrink that keeps this share of the throughput has cost nothing."""

PATIENCE = 10
"""Windows to wait after a trial that found no queue; doubled each time."""

PATIENCE_MOST = 160

LEAST = 4
"""No queue is worth fewer places than this."""

BROKEN, BROKEN_SHARE, BROKEN_WITHIN_S = 3, 0.25, 5.0
"""So many broken connections, of so many that ended in that time, are no bad luck."""

LEAST_BROKEN = 2

MEND_S = 10.0
"""So long after connections broke, places begin to come back."""


@dataclass(slots=True)
class Crowding:
    """The places of one class of endpoint of one host.

    Args:
        most: places to begin with; there are never more.
    """

    most: int
    places: float = field(init=False)
    _usual_s: float | None = None
    _latencies: list[float] = field(default_factory=list)
    _answers: int = 0
    _crowded: int = 0
    _window_began: float | None = None
    _trial: tuple[float, float] | None = None
    _rest: int = 0
    _patience: int = PATIENCE
    _broken: deque[float] = field(default_factory=deque)
    _ended: deque[float] = field(default_factory=deque)
    _broke_at: float = float("-inf")

    def __post_init__(self) -> None:
        self.places = self.most

    def answered(self, now: float, round_trip_s: float, *, small: bool, in_flight: int) -> None:
        """A request was answered.

        Args:
            small: whether its size has no say in how long it took.
            in_flight: requests at the same time, itself included.
        """
        if self._window_began is None:
            self._window_began = now
        self._answers += 1
        self._crowded += in_flight >= 0.8 * self.places
        if small:
            self._latencies.append(round_trip_s)
        if self._broken:
            self._ended.append(now)
        length = now - self._window_began
        if length >= WINDOW_S and self._answers >= WINDOW_ANSWERS:
            self._close(now, self._answers / length)

    def broke(self, now: float) -> None:
        """A connection broke, or a request was given up."""
        self._trial = None
        self._broken.append(now)
        self._ended.append(now)
        for events in (self._broken, self._ended):
            while events[0] < now - BROKEN_WITHIN_S:
                events.popleft()
        if len(self._broken) >= BROKEN and len(self._broken) >= BROKEN_SHARE * len(self._ended):
            self.places = max(min(LEAST_BROKEN, self.most), self.places / 2)
            self._broken.clear()
            self._ended.clear()
        self._broke_at = now

    def _close(self, now: float, throughput: float) -> None:
        """The end of a window."""
        crowded, small = self._crowded >= 0.5 * self._answers, len(self._latencies) >= 0.8 * self._answers
        latency_s = statistics.median(self._latencies) if self._latencies else 0.0
        self._latencies, self._answers, self._crowded, self._window_began = [], 0, 0, now
        if now - self._broke_at >= MEND_S and self._broken:
            self._broken.clear()
            self._ended.clear()
        if not small:  # large ones share the line, and their number tells nothing of it
            self._trial = None
            return
        if self._trial is not None:
            self._judge(latency_s, throughput)
        elif self._usual_s is not None and latency_s > SLOW * self._usual_s + SLOW_S:
            self._rest -= 1
            if crowded and self._rest < 0 and self.places > LEAST:
                self._trial = throughput, self.places
                self.places = max(LEAST, SHRINK * self.places)
            return
        self._usual_s = latency_s if self._usual_s is None else min(1.01 * self._usual_s, latency_s)
        if crowded and latency_s <= EASY * self._usual_s + SLOW_S and now - self._broke_at >= MEND_S:
            self.places = min(self.most, self.places + max(1.0, 0.05 * self.places))

    def _judge(self, latency_s: float, throughput: float) -> None:
        """Whether the places that were taken away are missed."""
        assert self._trial is not None
        before, places = self._trial
        self._trial = None
        if throughput >= NO_LOSS * before:
            self._patience = PATIENCE
            return
        self.places = places
        self._usual_s = latency_s
        self._rest, self._patience = self._patience, min(PATIENCE_MOST, 2 * self._patience)
