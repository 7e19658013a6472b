"""The pacer against a simulated server, in virtual time: minutes of traffic in seconds.

    python benchmarks/throttle_simulation.py [SCENARIO…]

Of each scenario it prints the worst of several seeds, for each figure by itself.
Goodput counts accepted requests against the tokens that the server could have given, from the first
second on; rejects are of all requests sent. The latency is lognormal with a median of 80 ms.
"""

from __future__ import annotations

import heapq
import math
import random
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from engine.transfer.throttling.pacing import Pacer

Rate = Callable[[float], float]

SEEDS = range(1, 6)


class TokenBucket:
    """Allows ``rate(t)`` requests a second, and bursts of ``burst_s`` seconds' worth."""

    def __init__(
        self, rate: Rate, burst_s: float = 1.0, retry_after_s: float | None = None, noise: float = 0.0
    ) -> None:
        self.rate, self.burst_s, self.retry_after_s, self.noise = rate, burst_s, retry_after_s, noise
        self._random = random.Random(9)
        self._at = 0.0
        self.tokens = self.initial = self._cap(0.0)

    def _cap(self, at: float) -> float:
        return max(1.0, self.rate(at) * self.burst_s)

    def offer(self, at: float) -> tuple[bool, float | None]:
        self.tokens = min(self._cap(at), self.tokens + (at - self._at) * self.rate(at))
        self._at = at
        if self._random.random() < self.noise or self.tokens < 1:
            return False, self.retry_after_s
        self.tokens -= 1
        return True, None


@dataclass(frozen=True)
class Scenario:
    rate: Rate
    clients: int = 1
    length_s: float = 120.0
    slots: int = 128
    latency_s: float = 0.08
    burst_s: float = 1.0
    retry_after_s: float | None = None
    noise: float = 0.0
    joins_s: Sequence[float] = ()
    raised_at: float | None = None


@dataclass
class Outcome:
    """Shares of 1, except ``recovery_s``: seconds to 90 % of a raised limit."""

    goodput: float
    rejected: float
    rejected_warm: float
    fairness: float
    early: int
    recovery_s: float | None
    accepted_per_second: list[int] = field(repr=False)


def steady(rate: float) -> Rate:
    return lambda _: rate


def steps(*levels: tuple[float, float]) -> Rate:
    return lambda at: next(rate for start, rate in reversed(levels) if at >= start)


SCENARIOS = {
    "steady 500/s": Scenario(steady(500)),
    "steady 50/s": Scenario(steady(50)),
    "first 30 s of 50/s": Scenario(steady(50), length_s=30, burst_s=0.1, latency_s=0.005, slots=32),
    "steady 5/s": Scenario(steady(5), length_s=600),
    "step down 500 → 100/s": Scenario(steps((0, 500), (60, 100))),
    "step up 100 → 200/s": Scenario(steps((0, 100), (60, 200)), raised_at=60),
    "step up 100 → 800/s": Scenario(steps((0, 100), (60, 800)), raised_at=60),
    "step up 50 → 400/s": Scenario(steps((0, 50), (60, 400)), raised_at=60),
    "step up 100 → 150/s": Scenario(steps((0, 100), (60, 150)), raised_at=60),
    "bursty: bucket of 0.1 s": Scenario(steady(500), burst_s=0.1),
    "bursty: bucket of 5 s": Scenario(steady(100), burst_s=5.0),
    "two processes, 500/s": Scenario(steady(500), clients=2),
    "two processes, 20/s": Scenario(steady(20), clients=2, length_s=400, burst_s=0.25),
    "four join over 60 s": Scenario(steady(500), clients=4, length_s=300, joins_s=(0, 20, 40, 60)),
    "slow objects 1.5 s, 200/s": Scenario(steady(200), clients=2, slots=256, latency_s=1.5, length_s=300),
    "Retry-After 1 s": Scenario(steady(500), clients=2, retry_after_s=1.0),
    "0.3 % stray 503": Scenario(steady(500), clients=2, noise=0.003),
}


def simulate(scenario: Scenario, seed: int = 1) -> Outcome:
    """Always-backlogged clients with ``slots`` each; what is rejected is tried again."""
    return _Simulation(scenario, seed).run()


class _Simulation:
    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.s = scenario
        self.random = random.Random(seed)
        self.server = TokenBucket(scenario.rate, scenario.burst_s, scenario.retry_after_s, scenario.noise)
        clients = range(scenario.clients)
        self.pacers = [Pacer() for _ in clients]
        self.in_flight = [0] * scenario.clients
        self.waiting: list[deque[float]] = [deque() for _ in clients]
        self.wakes = [-1.0] * scenario.clients
        self.accepted = [0] * scenario.clients
        self.late_accepted = [0] * scenario.clients
        self.by_second = [0] * (int(scenario.length_s) + 2)
        self.rejected_at: list[float] = []
        self.early = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, act))

    def run(self) -> Outcome:
        joins = self.s.joins_s or [0.05 * n for n in range(self.s.clients)]
        for client, when in enumerate(joins):
            self.at(when, partial(self.pump, client))
        self.now = 0.0
        while self._events and self._events[0][0] <= self.s.length_s:
            self.now, _, act = heapq.heappop(self._events)
            act()
        return self.outcome()

    def pump(self, client: int) -> None:
        pacer = self.pacers[client]
        while self.in_flight[client] + len(self.waiting[client]) < self.s.slots:
            if (delay := pacer.delay(self.now)) > 0:
                if not self.now < self.wakes[client] <= self.now + delay:
                    self.wakes[client] = self.now + delay
                    self.at(self.now + delay, lambda: self.pump(client))
                return
            pacer.sent(self.now)
            self.in_flight[client] += 1
            self.early += any(self.now < until for until in self.waiting[client])
            self.at(self.now + 0.3 * self.latency(), partial(self.arrive, client, self.now))

    def latency(self) -> float:
        return self.s.latency_s * math.exp(self.random.gauss(0, 0.5))

    def arrive(self, client: int, sent: float) -> None:
        taken, retry_after_s = self.server.offer(self.now)
        service = 0.7 * self.latency() if taken else 0.3 * self.latency()
        self.at(self.now + service, lambda: self.answer(client, sent, taken, retry_after_s))

    def answer(self, client: int, sent: float, taken: bool, retry_after_s: float | None) -> None:
        self.in_flight[client] -= 1
        if taken:
            self.pacers[client].accepted(self.now, self.now - sent)
            self.accepted[client] += 1
            self.late_accepted[client] += self.now > self.s.length_s / 2
            self.by_second[int(self.now)] += 1
        else:
            self.pacers[client].rejected(self.now, retry_after_s, refusal_s=self.now - sent)
            self.rejected_at.append(self.now)
            if retry_after_s:
                until = self.now + retry_after_s
                self.waiting[client].append(until)
                self.at(until, lambda: self.waited(client))
        self.pump(client)

    def waited(self, client: int) -> None:
        self.waiting[client].popleft()
        self.pump(client)

    def outcome(self) -> Outcome:
        ticks = int(self.s.length_s * 4)
        possible = self.server.initial + sum(self.s.rate(n / 4) / 4 for n in range(ticks))
        accepted = sum(self.accepted)
        warm = self.s.joins_s[-1] + 10 if self.s.joins_s else 10.0
        warm_rejected = sum(at >= warm for at in self.rejected_at)
        warm_accepted = sum(self.by_second[int(warm) :])
        squares = sum(n * n for n in self.late_accepted)
        return Outcome(
            goodput=accepted / possible,
            rejected=len(self.rejected_at) / max(1, accepted + len(self.rejected_at)),
            rejected_warm=warm_rejected / max(1, warm_accepted + warm_rejected),
            fairness=sum(self.late_accepted) ** 2 / (len(self.late_accepted) * squares) if squares else 0.0,
            early=self.early,
            recovery_s=self._recovery(),
            accepted_per_second=self.by_second,
        )

    def _recovery(self) -> float | None:
        if self.s.raised_at is None:
            return None
        start = int(self.s.raised_at)
        for second in range(start, int(self.s.length_s)):
            if self.by_second[second] >= 0.9 * self.s.rate(second):
                return float(second + 1 - start)
        return math.inf


def main() -> None:
    chosen = sys.argv[1:]
    print(f"{'scenario':28} {'goodput':>8} {'rejected':>9} {'after 10 s':>11} {'Jain':>6} {'recovery':>9}")
    for name, scenario in SCENARIOS.items():
        if chosen and not any(word in name for word in chosen):
            continue
        runs = [simulate(scenario, seed) for seed in SEEDS]
        slowest = max((run.recovery_s for run in runs if run.recovery_s is not None), default=None)
        recovery = "" if slowest is None else f"{slowest:.0f} s"
        print(
            f"{name:28} {min(run.goodput for run in runs):8.1%} {max(run.rejected for run in runs):9.2%} "
            f"{max(run.rejected_warm for run in runs):11.2%} {min(run.fairness for run in runs):6.3f} "
            f"{recovery:>9}"
        )


if __name__ == "__main__":
    main()
