"""The pacer in virtual time: it finds the limit of any server, sits under it, and shares it."""

from __future__ import annotations

import math

import pytest

from benchmarks.throttle_simulation import Scenario, simulate, steady, steps
from engine.transfer.throttling.pacing import Pacer


def test_a_server_that_never_rejects_is_never_paced():
    pacer = Pacer()
    for n in range(10_000):
        assert pacer.delay(n / 10_000) == 0
        pacer.sent(n / 10_000)
        pacer.accepted(n / 10_000, 0.05)
    assert math.isinf(pacer.rate)


def test_a_cap_of_the_user_is_kept_from_the_first_request_on():
    pacer, now, sent = Pacer(max_rate=10), 0.0, 0
    while now < 10:
        if (delay := pacer.delay(now)) > 0:
            now += delay
            continue
        pacer.sent(now)
        pacer.accepted(now, 0.01)
        sent += 1
    assert 99 <= sent <= 103


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(steady(500), length_s=60),
        Scenario(steady(50), length_s=120),
        Scenario(steady(500), length_s=150, burst_s=0.1),
        Scenario(steady(100), length_s=60, burst_s=5.0),
        Scenario(steps((0, 500), (40, 100)), length_s=80),
        Scenario(steps((0, 100), (40, 150)), length_s=120),
        Scenario(steps((0, 100), (40, 200)), length_s=120),
        Scenario(steps((0, 100), (60, 800)), length_s=120),
        Scenario(steady(50), burst_s=0.1, latency_s=0.005, slots=32, length_s=30),
        Scenario(steady(500), clients=2, length_s=60),
        Scenario(steady(200), clients=2, slots=256, latency_s=1.5, length_s=300),
        Scenario(steady(500), clients=2, retry_after_s=1.0, length_s=120),
        Scenario(steady(500), clients=2, noise=0.003, length_s=120),
    ],
    ids=[
        "steady",
        "slow",
        "small-bucket",
        "large-bucket",
        "step-down",
        "half-as-much-again",
        "doubled",
        "eight-times",
        "start-up-included",
        "two-processes",
        "slow-objects",
        "retry-after",
        "stray-503",
    ],
)
def test_goodput_is_high_and_rejects_are_few(scenario: Scenario):
    outcome = simulate(scenario)
    assert outcome.goodput >= 0.95
    # What the server refuses at random is not for the pacer to avoid.
    assert outcome.rejected_warm <= 0.02 + scenario.noise


def test_processes_share_a_server_equally_without_talking():
    assert simulate(Scenario(steady(500), clients=2, length_s=120)).fairness >= 0.9
    late = Scenario(steady(500), clients=4, joins_s=(0, 10, 20, 30), length_s=200)
    assert simulate(late).fairness >= 0.9


@pytest.mark.parametrize("raised_to", [150, 200, 800])
def test_a_raised_limit_is_used_within_ten_seconds(raised_to: int):
    raised = Scenario(steps((0, 100), (40, raised_to)), length_s=80, raised_at=40)
    recovery_s = simulate(raised).recovery_s
    assert recovery_s is not None
    assert recovery_s <= 10


def test_the_limit_of_a_server_is_known_after_a_second_or_two():
    for rate in (30, 300, 3000):
        seconds = simulate(Scenario(steady(rate), length_s=6, burst_s=0.1, slots=512)).accepted_per_second
        assert sum(seconds[2:5]) >= 0.9 * 3 * rate


def test_a_single_reject_is_noise():
    pacer = Pacer(rate=100.0)
    pacer.sent(0.0)
    pacer.accepted(0.05, 0.05)
    pacer.rejected(0.1)
    assert pacer.rate == 100.0


def test_nobody_sends_before_the_time_that_an_uncovered_reject_names():
    pacer = Pacer(rate=100.0)
    for _ in range(3):
        pacer.rejected(0.0, 2.0)
    assert pacer.delay(1.0) == pytest.approx(1.0)
    assert pacer.delay(2.0) <= 1 / pacer.rate


def test_a_quota_of_fixed_windows_is_spread_after_it_was_met_once():
    pacer, window, quota, used, rejects, now = Pacer(), 30.0, 300, 0, [0] * 10, 0.0
    began = 0.0
    while now < 300:
        if now >= began + window:
            began, used = now - now % window, 0
        if (delay := pacer.delay(now)) > 0:
            now += delay
            continue
        pacer.sent(now)
        if used < quota:
            used += 1
            pacer.accepted(now, 0.01)
        else:
            rejects[int(now // 30)] += 1
            pacer.rejected(now, began + window - now)
        now += 0.001
    assert sum(rejects[5:]) <= 5 * 5


def test_headers_that_tell_the_quota_replace_probing():
    pacer = Pacer()
    pacer.quota(0.0, remaining=50, reset_s=10)
    now, sent = 0.0, 0
    while now < 5:
        if (delay := pacer.delay(now)) > 0:
            now += delay
            continue
        pacer.sent(now)
        sent += 1
    assert 24 <= sent <= 27


def test_a_quota_that_is_used_up_is_waited_out():
    pacer = Pacer()
    pacer.quota(0.0, remaining=0, reset_s=7)
    assert pacer.delay(0.0) == pytest.approx(7)


def test_a_quota_is_shared_by_what_others_use_of_it():
    pacer = Pacer()
    pacer.quota(0.0, remaining=1_000, reset_s=100)
    alone = 1_000 / 100
    for n in range(50):
        pacer.sent(float(n) / 10)
    pacer.quota(5.0, remaining=900, reset_s=95)  # others took as many as we did
    shared = 1 / (pacer.delay(5.0) or 1)
    assert pacer._allowed(5.0) == pytest.approx(0.6 * 900 / 95, rel=0.01)
    assert shared < alone


def test_a_few_early_rejects_do_not_slow_down_what_has_hardly_begun():
    pacer = Pacer()
    for n in range(4):
        pacer.sent(n / 10)
        pacer.accepted(n / 10 + 0.05, 0.05)
    for _ in range(3):
        pacer.rejected(0.5, 1.0)

    now, sent = 1.5, 0
    while now < 6.5:
        if (delay := pacer.delay(now)) > 0:
            now += delay
            continue
        pacer.sent(now)
        pacer.accepted(now + 0.05, 0.05)
        sent += 1

    assert sent >= 50
