"""Finds the rate that a server allows, and stays just under it.

A ``Pacer`` is a pure state machine with the time passed in: it neither sleeps nor reads a clock. One
paces one class of endpoint of one host. Four ideas carry it:

* **Pace, don't only cap.** Requests leave on a schedule, so that a token bucket is never hit by a burst.
* **A budget of rejects.** Accepted answers earn a little of a reject; a covered reject is noise and cuts
  nothing. The pacer lives with well under 1 % of rejects on purpose: they are its only sight of the limit.
* **Anchored to delivery.** However many rejects are in flight, the rate is never cut below most of what the
  server has just accepted, so a burst of rejects cannot collapse it.
* **Cuts mirror growth.** Cuts shrink with the square root of the rate and growth accelerates while nothing
  is rejected, so that clients of one server share it equally without talking to each other.

Until the first rejects the rate is unlimited and only concurrency bounds it: most servers of an afternoon's
migration never reject, and pay nothing. ``RateLimit-*`` headers, where a server sends them, replace probing.
Constants come from a simulation, see ``benchmarks/throttle_simulation.py``.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

GROWTH = 0.01
"""Calm growth, per second."""

GROWTH_MAX = 0.8
"""Accelerated growth, per second."""

RAMP, RAMP_TO = 1.0, 4.0
"""Growth per second between the unlimited start and the first cut, up to this multiple."""

RAMP_CUT = 0.4
"""The cut that ends the ramp, of the rate."""

QUIET_S = 2.5
"""So long without a cut, growth begins to accelerate; at least 6 round trips."""

QUIET_ANSWERS = 150
"""And at least so many answers, since at few requests a second seconds tell little."""

ACCELERATION_MAX = 6.0
"""Acceleration is the cube of the quiet time in units of ``QUIET_S``, up to this many of them."""

CUT = 0.4
"""A cut takes this over the square root of the rate, of the rate."""

CUT_MAX = 0.25

FLOOR = 0.85
"""Never cut below this share of what the server has just accepted."""

EARN_MIN, EARN_MAX, EARN = 0.003, 0.008, 0.05
"""What an accepted answer earns of a reject: ``EARN`` over the square root of the rate, in these bounds."""

BUDGET_MAX = 3.0

SLACK_S = 0.02
"""A sender that was late may catch up by so much."""

BUSY = 0.7
"""Grow only if at least this share of the allowed rate is used; an idle pacer learns nothing."""

WINDOW_S = 0.5
"""Over which sent and accepted requests are counted; longer at low rates, up to ``WINDOW_MAX_S``."""

WINDOW_ANSWERS = 80
WINDOW_MAX_S = 4.0

WINDOW_KIND_S = 10.0
"""A ``Retry-After`` of so many seconds means a quota by fixed windows rather than a token bucket."""

HOLD = 20.0
"""After a pause that the server asked for, do not probe for this many times its length."""

SETTLE_S = 0.25
"""When the first rejects come, nobody sends for so long, or two round trips; then what was accepted
until then tells the rate. Rejects are quicker than accepted answers, so that at once would be too soon."""

START_RATE = 10.0
"""Requests per second after the unlimited start at least: what little was sent until then may say nothing."""

LOWEST = 0.1
"""Requests per second; a pacer never stops altogether."""

RESET_MIN_S = 1.0
"""Header windows about to end say nothing about the next."""


class Window:
    """Counts events of the last seconds."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def add(self, now: float) -> None:
        self._times.append(now)
        if self._times[0] < now - WINDOW_MAX_S:
            self._times.popleft()

    def rate(self, now: float, length: float) -> float:
        """Events per second over the last ``length`` seconds."""
        while self._times and self._times[0] < now - WINDOW_MAX_S:
            self._times.popleft()
        first = next((n for n, at in enumerate(self._times) if at >= now - length), len(self._times))
        return (len(self._times) - first) / length


@dataclass(slots=True)
class Pacer:
    """One class of endpoint of one host.

    Args:
        max_rate: requests per second that the user allows, None for any number.

    Attributes:
        rate: requests per second, infinite until the server first refused some.
        round_trip_s: smoothed time of an accepted answer.
    """

    max_rate: float | None = None
    rate: float = math.inf
    round_trip_s: float | None = None
    _next: float = 0.0
    _grown: float = 0.0
    _budget: float = 1.0
    _last_cut: float = -math.inf
    _answers_since_cut: int = 0
    _acceleration: float = 1.0
    _gate_until: float = 0.0
    _began: float | None = None
    _settling: bool = False
    _ramp_to: float = 0.0
    _hold_until: float = 0.0
    _window_began: float = 0.0
    _window_accepted: int = 0
    _sent: Window = field(default_factory=Window)
    _accepted: Window = field(default_factory=Window)
    _quota: _Quota = field(default_factory=lambda: _Quota())  # noqa: PLW0108 - defined below

    # -- sending ---------------------------------------------------------------------------------

    def delay(self, now: float) -> float:
        """Seconds until the next request may leave; 0 means now."""
        if now < self._gate_until:
            return self._gate_until - now
        if self._settling:
            self._settle(now)
        self._grow(now)
        return max(0.0, self._next - now)

    def sent(self, now: float) -> None:
        """A request left."""
        if self._began is None:
            self._began = now
        self._next = max(self._next, now - SLACK_S) + 1 / self._allowed(now)
        self._sent.add(now)
        self._quota.own += 1

    def _allowed(self, now: float) -> float:
        allowed = self.rate if self.max_rate is None else min(self.rate, self.max_rate)
        if self._quota.holds(now):
            allowed = min(allowed, self._quota.rate)
        return max(LOWEST, allowed)

    # -- learning --------------------------------------------------------------------------------

    def accepted(self, now: float, round_trip_s: float) -> None:
        """The server took a request."""
        if self.round_trip_s is None:
            self.round_trip_s = round_trip_s
        self.round_trip_s += 0.05 * (round_trip_s - self.round_trip_s)
        self._accepted.add(now)
        self._answers_since_cut += 1
        self._window_accepted += 1
        earned = EARN_MAX if math.isinf(self.rate) else EARN / math.sqrt(self.rate)
        self._budget = min(BUDGET_MAX, self._budget + min(EARN_MAX, max(EARN_MIN, earned)))

    def rejected(self, now: float, retry_after_s: float | None = None) -> None:
        """The server asked for less; the request itself must wait out its own ``Retry-After``."""
        if retry_after_s is not None and retry_after_s >= WINDOW_KIND_S:
            self._fixed_window(now, retry_after_s)
            return
        if now < self._gate_until:  # sent before the pause began
            self._gate_until = max(self._gate_until, now + (retry_after_s or 0.0))
            return
        if self._settling:
            return
        self._budget -= 1
        if self._budget >= 0:
            return
        if math.isinf(self.rate):
            self._settling = True
            so_far = self.round_trip_s or now - (self._began if self._began is not None else now)
            self._gate_until = now + max(SETTLE_S, 2 * so_far, retry_after_s or 0.0)
            return
        self._budget = 0.0 if retry_after_s else max(self._budget, -1.0)
        self._cut(now)
        if retry_after_s:
            self._gate_until = self._last_cut = now + retry_after_s
            self._hold_until = self._gate_until + HOLD * retry_after_s

    def quota(self, now: float, remaining: float, reset_s: float) -> None:
        """The server told by ``RateLimit-Remaining`` and ``-Reset`` what is left of a window."""
        if reset_s <= RESET_MIN_S:
            return
        self._quota.told(now, remaining, reset_s)
        if math.isfinite(self.rate):
            self.rate = max(self.rate, self._quota.rate)
        if remaining <= 0:
            self._gate_until = max(self._gate_until, now + reset_s)

    # -- the rate --------------------------------------------------------------------------------

    def _cut(self, now: float) -> None:
        anchor = FLOOR * self._accepted.rate(now, self._window())
        # What a full bucket let through during the ramp says nothing of the rate at which it fills.
        ramped = self.rate < self._ramp_to
        cut = RAMP_CUT if ramped else min(CUT_MAX, self._step() * self._acceleration)
        if ramped:
            anchor = min(anchor, self._ramp_to / RAMP_TO)
        self.rate = max(LOWEST, min(self.rate, anchor), self.rate * (1 - cut))
        self._last_cut, self._answers_since_cut, self._acceleration = now, 0, 1.0
        self._ramp_to = 0.0
        self._next = max(self._next, now + 1 / self.rate)

    def _settle(self, now: float) -> None:
        """The end of the unlimited start."""
        self._settling = False
        began = self._began if self._began is not None else now
        length = min(WINDOW_MAX_S, max(WINDOW_S, now - began))
        self.rate = max(START_RATE, FLOOR * self._accepted.rate(now, length))
        self._ramp_to = RAMP_TO * self.rate
        self._budget = BUDGET_MAX / 2
        self._last_cut, self._answers_since_cut = now, 0
        self._next = now

    def _fixed_window(self, now: float, retry_after_s: float) -> None:
        """A quota that refills all at once: spread what the last window gave over the next."""
        if now >= self._gate_until:
            length = now - self._window_began + retry_after_s
            if self._window_began and length < 5 * retry_after_s and self._window_accepted:
                self.rate = max(LOWEST, self._window_accepted / length)
            self._window_began, self._window_accepted = now + retry_after_s, 0
        self._gate_until = max(self._gate_until, now + retry_after_s)

    def _grow(self, now: float) -> None:
        elapsed = now - self._grown
        if elapsed <= SLACK_S:
            return
        self._grown = now
        if math.isinf(self.rate) or self._quota.holds(now) or now < self._hold_until:
            return
        if self._sent.rate(now, WINDOW_S) < BUSY * self.rate and self.rate * WINDOW_S >= 4:
            return
        ramping = self.rate < self._ramp_to
        growth = min(RAMP, 0.5 / (self.round_trip_s or 1.0)) if ramping else self._probing(now)
        self.rate *= math.exp(growth * min(elapsed, 0.25))

    def _probing(self, now: float) -> float:
        growth = min(GROWTH, EARN_MAX * self._step() * self.rate)
        if self._budget >= BUDGET_MAX - 0.5:
            calm = max(QUIET_S, 6 * (self.round_trip_s or 0.0))
            quiet = min(
                (now - max(self._last_cut, self._hold_until)) / calm,
                self._answers_since_cut / QUIET_ANSWERS,
                ACCELERATION_MAX,
            )
            self._acceleration = max(1.0, quiet**3)
            return min(GROWTH_MAX, growth * self._acceleration)
        self._acceleration = 1.0
        return growth

    def _step(self) -> float:
        return min(CUT_MAX, CUT / math.sqrt(self.rate))

    def _window(self) -> float:
        return min(WINDOW_MAX_S, max(WINDOW_S, WINDOW_ANSWERS / self.rate))


@dataclass(slots=True)
class _Quota:
    """A quota that the server tells, and our share of it.

    Others may use the same quota: it shrinks by more than what we sent, and the ratio of the two is our
    share, which needs no talking between processes.
    """

    rate: float = math.inf
    own: int = 0
    _until: float = 0.0
    _remaining: float | None = None
    _share: float = 1.0

    def holds(self, now: float) -> bool:
        return now < self._until

    def told(self, now: float, remaining: float, reset_s: float) -> None:
        if self._remaining is None or not self.holds(now):
            self.own, self._remaining = 0, remaining
        elif self.own >= 5 and self._remaining - remaining >= 1:
            used = self._remaining - remaining
            self._share = 0.2 * self._share + 0.8 * min(1.0, self.own / used)
            self.own, self._remaining = 0, remaining
        self._until = now + reset_s
        self.rate = max(LOWEST, self._share * remaining / reset_s)
