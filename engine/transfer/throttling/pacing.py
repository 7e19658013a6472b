"""Finds the rate that a server allows, and stays just under it.

A ``Pacer`` is a pure state machine with the time passed in: it neither sleeps nor reads a clock. One
paces one class of endpoint of one host. Five ideas carry it:

* **Pace, don't only cap.** Requests leave on a schedule, so that a token bucket is never hit by a burst.
* **Search, then measure.** The first rejects stop everybody for a moment. Then the rate doubles every few
  tenths of a second until the server refuses again, and the share that it refuses tells what it gives
  (``ceiling.py``): a limit is known after about a second, wherever it is.
* **A budget of rejects.** Accepted answers earn a little of a reject; a covered reject is noise and cuts
  nothing. The pacer lives with well under 1 % of rejects on purpose: they are its only sight of the limit.
* **Look up, come back.** Now and then the rate leaves the calm one and climbs; the first reject takes it
  back, at a small toll. Where none comes although more was accepted than the server gave before, the limit
  was raised, and the search begins again.
* **Cuts mirror growth.** Calm growth is slow and cuts shrink with the square root of the rate, so that
  clients of one server share it equally without talking to each other. A cut never goes below most of what
  the server has just accepted, so that a burst of rejects cannot collapse the rate.

Until the first rejects the rate is unlimited and only concurrency bounds it: most servers of an afternoon's
migration never reject, and pay nothing. ``RateLimit-*`` headers, where a server sends them, replace probing.
Constants come from a simulation, see ``benchmarks/throttle_simulation.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum, auto

from engine.transfer.throttling.ceiling import Ceiling, Trial, Window
from engine.transfer.throttling.quota import LOWEST, RESET_MIN_S, Quota

GROWTH = 0.01
"""Calm growth, per second."""

SEARCH, SEARCH_AGAIN, SEARCH_PER_TRIP = 4.0, 2.0, 0.5
"""Growth per second of the first search and of later ones; per round trip at most the third."""

TRIAL_PACE, TRIAL_SENDS, TRIAL_TRIPS = 0.7, 12, 1.0
"""A search ends in a trial at this share of the rate, of so many requests and round trips."""

FINE_PACE, FINE_SENDS, FINE_TRIPS = 1.15, 40, 2.0
"""A longer one just above what that found follows, unless it was close already."""

FINE_SHARE = 0.75
"""A trial in which at least this share was accepted was close."""

TRIAL_LEAST_SHARE = 0.25
"""One trial never finds less than this of its rate: few answers may mislead."""

TRIAL_MOST_S, TRIAL_TRIP_MOST_S = 2.0, 0.4

SAFE = 0.98
"""What is used of a limit that a trial found."""

RISEN = 2.0
"""A reject before a later search came this far beyond the ceiling refutes it."""

GRABBED = 1.6
"""A search that found less than this times the ceiling may only have taken from other clients."""

SURPLUS, SURPLUS_S, SURPLUS_TRIPS = 6.0, 0.1, 0.5
"""Accepted beyond the ceiling, in requests and in what it gives in a time: more begins a search."""

MARGIN = 0.03
"""What exceeds the ceiling by less than this, or than two cuts, is no surplus but other clients' doing."""

DOUBT, DOUBT_MOST = 3.0, 64.0
"""After a search in vain it takes so many times as much, up to this many times."""

QUIET_S, QUIET_TRIPS, QUIET_ANSWERS = 2.0, 6.0, 150
"""So long without a reject, and after so many answers, the rate looks up."""

LOOK_BUDGET = 0.5
"""And with so much of the budget of rejects left."""

LOOK, LOOK_SPEED, LOOK_SPEED_PER_TRIP, LOOK_FULL_RATE = 0.06, 4.0, 0.3, 50.0
"""Looking up begins with this growth per second, and gains so much per second for each time that it is above
the calm rate; both less below a rate at which seconds tell little."""

LOOK_MOST, LOOK_MOST_PER_TRIP = 0.6, 0.1
"""It goes no further than this above the calm rate, or this over the round trip in seconds."""

LOOK_GROWTH_MAX = 0.8

LOOKING, TOLL, TOLL_LOW = 0.02, 0.1, 0.3
"""More than the first above the calm rate is looking up. If it is refused, the calm rate pays so much of how
far it went, the last at low rates: whoever has more looks up more often, so that it makes shares equal."""

CUT = 0.4
"""A cut takes this over the square root of the rate, of the rate."""

CUT_MAX = 0.25

FLOOR = 0.85
"""Never cut below this share of what the server has just accepted."""

EARN_MIN, EARN_MAX, EARN = 0.003, 0.008, 0.05
"""What an accepted answer earns of a reject: ``EARN`` over the square root of the rate, in these bounds."""

EARN_RATE = 5.0
"""Growth is slower where few answers earn little, but never slower than at this rate."""

BUDGET_MAX = 3.0

SLACK_S = 0.02
"""A sender that was late may catch up by so much."""

BUSY = 0.7
"""Grow only if at least this share of the allowed rate is used; an idle pacer learns nothing."""

WINDOW_S, WINDOW_ANSWERS, WINDOW_MAX_S = 0.5, 80, 4.0
"""Over which sent and accepted requests are counted; longer at low rates, up to the last."""

WINDOW_KIND_S = 10.0
"""A ``Retry-After`` of so many seconds means a quota by fixed windows rather than a token bucket."""

HOLD = 20.0
"""After a pause that the server asked for, do not probe for this many times its length."""

SETTLE_S = 0.25
"""When the first rejects come, nobody sends for so long, or two round trips; then what was accepted
until then tells where to search. Rejects are quicker than accepted answers: at once would be too soon."""

START_RATE = 10.0
"""Requests per second after the unlimited start at least: what little was sent until then may say nothing."""


class Phase(Enum):
    """What a pacer does."""

    UNLIMITED = auto()
    SETTLING = auto()
    SEARCHING = auto()
    TRYING = auto()
    HOLDING = auto()


@dataclass(slots=True)
class Pacer:
    """One class of endpoint of one host.

    Args:
        max_rate: requests per second that the user allows, None for any number.
        rate: where to begin, as a limit that is known.

    Attributes:
        rate: requests per second, infinite until the server first refused some.
        round_trip_s: smoothed time of an accepted answer.
    """

    max_rate: float | None = None
    rate: float = math.inf
    round_trip_s: float | None = None
    _phase: Phase = Phase.UNLIMITED
    _calm: float = math.inf
    _ceiling: Ceiling = field(default_factory=Ceiling)
    _searched_from: float = math.inf
    _doubt: float = 1.0
    _trial: Trial = field(default_factory=lambda: Trial(0.0, 0.0))
    _next: float = 0.0
    _grown: float = 0.0
    _budget: float = 1.0
    _quiet_since: float = -math.inf
    _quiet_answers: int = 0
    _refusal_s: float = 0.02
    _looked_until: float = -math.inf
    _gate_until: float = 0.0
    _began: float | None = None
    _window_began: float = 0.0
    _window_accepted: int = 0
    _sent: Window = field(default_factory=Window)
    _accepted: Window = field(default_factory=Window)
    _quota: Quota = field(default_factory=Quota)

    def __post_init__(self) -> None:
        if math.isfinite(self.rate):
            self._phase, self._calm = Phase.HOLDING, self.rate

    # -- sending ---------------------------------------------------------------------------------

    def delay(self, now: float) -> float:
        """Seconds until the next request may leave; 0 means now."""
        if now < self._gate_until:
            return self._gate_until - now
        if self._phase is Phase.SETTLING:
            self._settle(now)
        elif self._phase is Phase.TRYING:
            self._judge(now)
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
        self._quiet_answers += 1
        self._window_accepted += 1
        if self._phase is Phase.UNLIMITED:
            self._ceiling.accepted(now, MARGIN)
            earned = EARN_MAX
        else:
            self._ceiling.accepted(now, max(MARGIN, 2 * self._step()))
            earned = min(EARN_MAX, max(EARN_MIN, EARN / math.sqrt(self.rate)))
        self._budget = min(BUDGET_MAX, self._budget + earned)

    def rejected(self, now: float, retry_after_s: float | None = None, *, refusal_s: float = 0.0) -> None:
        """The server asked for less; the request itself must wait out its own ``Retry-After``.

        Args:
            refusal_s: how long ago the request left.
        """
        self._refusal_s += 0.2 * (refusal_s - self._refusal_s)
        if retry_after_s is not None and retry_after_s >= WINDOW_KIND_S:
            self._fixed_window(now, retry_after_s)
            return
        if now < self._gate_until:  # sent before the pause began
            self._gate_until = max(self._gate_until, now + (retry_after_s or 0.0))
            return
        if self._phase is Phase.SETTLING:
            return
        self._come_back(now)
        if self._phase is Phase.TRYING:
            self._trial.rejected(now - refusal_s)
            if not retry_after_s:
                return
        if self._was_looking(now - refusal_s):
            return
        self._budget -= 1
        if self._budget < 0:
            self._overdrawn(now, retry_after_s)

    def _overdrawn(self, now: float, retry_after_s: float | None) -> None:
        """More rejects than are noise: the server has no more to give."""
        trip = self.round_trip_s
        self._ceiling.met(now, trip or 0.0)
        if self._phase is Phase.UNLIMITED:
            self._phase = Phase.SETTLING
            so_far = trip or now - (self._began if self._began is not None else now)
            self._gate_until = now + max(SETTLE_S, 2 * so_far, retry_after_s or 0.0)
            return
        self._budget = 0.0 if retry_after_s else max(self._budget, -1.0)
        if self._phase is Phase.SEARCHING and not retry_after_s:
            self._try(now, TRIAL_PACE * self.rate)
            return
        self._cut(now)
        if retry_after_s:
            self._gate_until = now + retry_after_s
            self._quiet_since = self._gate_until + HOLD * retry_after_s

    def quota(self, now: float, remaining: float, reset_s: float) -> None:
        """The server told by ``RateLimit-Remaining`` and ``-Reset`` what is left of a window."""
        if reset_s <= RESET_MIN_S:
            return
        self._quota.told(now, remaining, reset_s)
        if math.isfinite(self.rate):
            self.rate = max(self.rate, self._quota.rate)
        if remaining <= 0:
            self._gate_until = max(self._gate_until, now + reset_s)

    # -- finding the limit -----------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        """The end of the unlimited start."""
        began = self._began if self._began is not None else now
        length = min(WINDOW_MAX_S, max(WINDOW_S, now - began))
        self.rate = max(START_RATE, FLOOR * self._accepted.rate(now, length))
        self._phase = Phase.SEARCHING
        self._budget = BUDGET_MAX / 2
        self._next = now

    def _try(self, now: float, pace: float, *, fine: bool = False) -> None:
        """Begin a trial."""
        trips, sends = (FINE_TRIPS, FINE_SENDS) if fine else (TRIAL_TRIPS, TRIAL_SENDS)
        self.rate = max(LOWEST, pace)
        # Rejects are quicker than answers, which may take seconds.
        trip = min(self.round_trip_s or self._refusal_s, TRIAL_TRIP_MOST_S)
        length = max(trips * trip, sends / self.rate)
        self._trial = Trial(now, min(TRIAL_MOST_S, length), fine)
        self._phase = Phase.TRYING
        self._next = now

    def _judge(self, now: float) -> None:
        """What a trial has shown, once it is over."""
        share = self._trial.share(now, self._sent, self._refusal_s)
        if share is None:
            return
        if share == 1:
            self._phase = Phase.SEARCHING
            return
        found = self._ceiling.rate = max(TRIAL_LEAST_SHARE, share) * self.rate
        if share < FINE_SHARE:
            self._try(now, FINE_PACE * found, fine=True)
            return
        self._budget = BUDGET_MAX / 2
        if math.isfinite(self._searched_from) and SAFE * found < GRABBED * self._searched_from:
            self._ceiling.rate = max(self._searched_from, min(SAFE * found, self._ceiling.measured))
            self._doubt = min(DOUBT_MOST, DOUBT * self._doubt)
            self._hold(now, self._below_ceiling())
        else:
            self._doubt = 1.0
            self._hold(now, SAFE * found)

    # -- staying under it ------------------------------------------------------------------------

    def _hold(self, now: float, rate: float) -> None:
        self.rate = self._calm = max(LOWEST, rate)
        self._phase = Phase.HOLDING
        self._quiet_since, self._quiet_answers = max(self._quiet_since, now), 0
        self._next = max(self._next, now + 1 / self.rate)

    def _come_back(self, now: float) -> None:
        """A reject ends looking up, and a later search that has not come far."""
        self._quiet_since, self._quiet_answers = max(self._quiet_since, now), 0
        self._ceiling.doubted()
        doubtful = self._phase is Phase.SEARCHING and self.rate < RISEN * self._ceiling.rate < math.inf
        if self._phase is Phase.HOLDING or doubtful:
            above = self.rate / self._calm - 1
            if above > LOOKING:
                self._looked_until = now
                toll = TOLL if self.rate > LOOK_FULL_RATE else TOLL_LOW
                self._calm *= 1 - min(self._step(), toll * above)
            self.rate = min(self.rate, self._calm)
            self._phase = Phase.HOLDING

    def _was_looking(self, sent: float) -> bool:
        """Rejects of a look show no more than its first did; at low rates they are most that there are."""
        return self._phase is Phase.HOLDING and self.rate > LOOK_FULL_RATE and sent <= self._looked_until

    def _cut(self, now: float) -> None:
        if self._phase is Phase.SEARCHING and math.isfinite(self._ceiling.rate):
            self._hold(now, min(self.rate, SAFE * self._ceiling.rate))
            return
        length = min(WINDOW_MAX_S, max(WINDOW_S, WINDOW_ANSWERS / self.rate))
        anchor = FLOOR * self._accepted.rate(now, length)
        self._hold(now, max(min(self.rate, anchor), self.rate * (1 - self._step())))

    def _fixed_window(self, now: float, retry_after_s: float) -> None:
        """A quota that refills all at once: spread what the last window gave over the next."""
        if now >= self._gate_until:
            length = now - self._window_began + retry_after_s
            if self._window_began and length < 5 * retry_after_s and self._window_accepted:
                self._hold(now, self._window_accepted / length)
            self._window_began, self._window_accepted = now + retry_after_s, 0
        self._gate_until = max(self._gate_until, now + retry_after_s)

    def _grow(self, now: float) -> None:
        elapsed = now - self._grown
        if elapsed <= SLACK_S:
            return
        self._grown, elapsed = now, min(elapsed, 0.25)
        if self._phase not in (Phase.SEARCHING, Phase.HOLDING) or self._quota.holds(now):
            return
        if self._sent.rate(now, WINDOW_S) < BUSY * self.rate and self.rate * WINDOW_S >= 4:
            return
        trip = self.round_trip_s or 1.0
        if self._phase is Phase.SEARCHING:
            fastest = SEARCH if math.isinf(self._searched_from) else SEARCH_AGAIN
            self.rate *= math.exp(min(fastest, SEARCH_PER_TRIP / trip) * elapsed)
        elif now >= self._quiet_since:  # else the server asked for a pause
            self._creep(now, elapsed, trip)

    def _creep(self, now: float, elapsed: float, trip: float) -> None:
        calm = min(GROWTH, EARN_MAX * self._step() * max(EARN_RATE, self.rate))
        self._calm *= math.exp(calm * elapsed)
        quiet = now - self._quiet_since > max(QUIET_S, QUIET_TRIPS * trip)
        if not quiet or self._quiet_answers < QUIET_ANSWERS or self._budget < LOOK_BUDGET:
            self.rate *= math.exp(calm * elapsed)
            return
        above, tells = self.rate / self._calm - 1, self.rate / LOOK_FULL_RATE
        speed = min(LOOK_SPEED, tells, LOOK_SPEED_PER_TRIP / trip)
        growth = min(calm + LOOK * min(1.0, tells) + above * speed, LOOK_GROWTH_MAX)
        most = self._calm * (1 + min(LOOK_MOST, LOOK_MOST_PER_TRIP / trip))
        self.rate = min(max(most, self.rate), self.rate * math.exp(growth * elapsed))
        # So far the server is known to give.
        self._calm = max(self._calm, min(self.rate, self._below_ceiling()))
        shown = SURPLUS + self._ceiling.rate * (SURPLUS_S + SURPLUS_TRIPS * trip)
        if self._ceiling.surplus > self._doubt * shown:
            self._searched_from = self._ceiling.rate
            self._phase = Phase.SEARCHING

    def _below_ceiling(self) -> float:
        return self._ceiling.rate * (1 - self._step() / 2)

    def _step(self) -> float:
        return min(CUT_MAX, CUT / math.sqrt(self.rate))
