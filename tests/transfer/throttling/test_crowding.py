"""Places at a server that never refuses: a queue gets shorter, nothing else loses throughput."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from engine.transfer.throttling.crowding import BROKEN, LEAST_BROKEN, Crowding

Service = Callable[[random.Random, float], float]


@dataclass
class Run:
    """What always-backlogged clients got of a server in virtual time."""

    throughput: float
    latency_s: float
    places: float


def run(workers: int, service: Service, *, adapt: bool = True, length_s: float = 60.0, most: int = 32) -> Run:
    """A server that works on ``workers`` requests at a time and lets the others wait."""
    draw, crowding, now, answers = random.Random(1), Crowding(most), 0.0, 0
    free = [0.0] * workers  # when each worker is done
    flying: list[tuple[float, float]] = []
    total_s = 0.0
    while now < length_s:
        while len(flying) < (crowding.places if adapt else most):
            began = max(now, heapq.heappop(free))
            done = began + service(draw, now)
            heapq.heappush(free, done)
            heapq.heappush(flying, (done + 0.005, now))
        in_flight = len(flying)
        now, sent = heapq.heappop(flying)
        crowding.answered(now, now - sent, small=True, in_flight=in_flight)
        if now > length_s / 2:
            answers, total_s = answers + 1, total_s + now - sent
    return Run(answers / (length_s / 2), total_s / answers, crowding.places)


def quick(draw: random.Random, now: float) -> float:
    return 0.01


def jittery(draw: random.Random, now: float) -> float:
    return 0.02 * draw.lognormvariate(0, 0.8)


def mixed(draw: random.Random, now: float) -> float:
    """One in five takes fifty times as long, as a page of files beside the question for a name."""
    return 0.5 if draw.random() < 0.2 else 0.01


def slower_later(draw: random.Random, now: float) -> float:
    """After ten seconds all that is asked is of a kind that takes long."""
    return (0.01 if now < 10 else 0.2) * draw.lognormvariate(0, 0.3)


@pytest.mark.parametrize("service", [quick, jittery, mixed, slower_later])
@pytest.mark.parametrize("workers", [1, 4, 32])
def test_throughput_is_what_it_would_be_without(workers: int, service: Service):
    assert run(workers, service).throughput >= 0.95 * run(workers, service, adapt=False).throughput


def test_a_queue_that_appears_is_made_shorter_and_costs_no_throughput():
    def tired(draw: random.Random, now: float) -> float:
        return 0.001 if now < 10 else 0.01

    without, queue = run(2, tired, adapt=False), run(2, tired, length_s=120)
    assert queue.latency_s <= 0.6 * without.latency_s
    assert queue.throughput >= 0.95 * without.throughput


def test_connections_that_break_together_halve_the_places():
    crowding = Crowding(32)
    for n in range(BROKEN):
        crowding.broke(n / 10)
    assert crowding.places == 16
    for n in range(40):
        crowding.broke(1 + n / 10)
    assert crowding.places == LEAST_BROKEN


def test_single_resets_among_answers_are_bad_luck():
    crowding, draw, now = Crowding(32), random.Random(3), 0.0
    for _ in range(5_000):
        now += 0.01
        if draw.random() < 0.1:
            crowding.broke(now)
        else:
            crowding.answered(now, 0.05, small=True, in_flight=32)
    assert crowding.places >= 24


def test_places_come_back_once_nothing_breaks():
    crowding, now = Crowding(32), 0.0
    for n in range(12):
        crowding.broke(n / 10)
    assert crowding.places < 5
    while now < 60:
        now += 0.02
        crowding.answered(now, 0.05, small=True, in_flight=int(crowding.places))
    assert crowding.places == 32


def test_large_requests_say_nothing():
    crowding, now = Crowding(32), 0.0
    for n in range(3_000):
        now += 0.01
        crowding.answered(now, 0.05 if n < 500 else 5.0, small=n < 500, in_flight=32)
    assert crowding.places == 32
