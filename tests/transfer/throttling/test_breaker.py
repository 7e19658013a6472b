"""The breaker: an outage is waited out by one probe at a time; anything less is left to retries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.transfer.throttling.breaker import (
    ITSELF,
    OPENS_AFTER_S,
    PATIENCE_S,
    PROBE_FIRST_S,
    PROBE_MOST_S,
    Breaker,
)


def down() -> Breaker:
    """A breaker whose server answered at 0 and was found gone by three requests at 100."""
    breaker = Breaker()
    breaker.succeeded(0.0)
    for request in ("a", "b", "c"):
        breaker.failed(100.0, request)
    return breaker


def test_several_failures_open_it_and_say_since_when():
    breaker = down()
    assert breaker.down_since == 0.0
    assert breaker.delay(100.0) == PROBE_FIRST_S


def test_one_object_that_keeps_failing_does_not():
    breaker = Breaker()
    breaker.succeeded(0.0)
    for n in range(100):
        breaker.failed(100.0 + n, "the same object")
    assert breaker.delay(300.0) == 0


def test_failures_among_successes_do_not():
    breaker = Breaker()
    for n in range(100):
        breaker.failed(float(n), f"object {n}")
        breaker.succeeded(n + 0.5)
    assert breaker.delay(101.0) == 0


def test_a_short_burst_of_failures_does_not():
    breaker = Breaker()
    breaker.succeeded(0.0)
    for n in range(10):
        breaker.failed(OPENS_AFTER_S / 2, f"object {n}")
    assert breaker.delay(OPENS_AFTER_S / 2) == 0


def test_a_server_that_never_answered_is_not_waited_for():
    breaker = Breaker()
    for n in range(10):
        breaker.failed(100.0 * n, f"object {n}")
    assert breaker.delay(1_000.0) == 0


def test_only_one_request_probes_at_a_time():
    breaker = down()
    at = 100.0 + PROBE_FIRST_S
    assert breaker.delay(at) == 0
    breaker.admit()
    assert breaker.delay(at) > 0
    breaker.abandoned()
    assert breaker.delay(at) == 0


def test_probes_become_rarer_and_a_success_closes_it():
    breaker, now, waits = down(), 100.0, []
    for n in range(10):
        waits.append(breaker.delay(now))
        now += waits[-1]
        breaker.admit()
        breaker.failed(now, f"probe {n}")
    assert waits == sorted(waits)
    assert waits[-1] == PROBE_MOST_S
    breaker.admit()
    breaker.succeeded(now)
    assert breaker.delay(now) == 0
    assert breaker.down_since is None


def test_patience_ends():
    breaker = down()
    assert not breaker.exhausted(breaker.patience_s)
    assert breaker.exhausted(breaker.patience_s + 1)


def test_hours_of_errors_are_waited_out_with_a_request_now_and_then():
    """One request under way, five hours of 503, and then it goes on."""
    breaker, now, requests = Breaker(), OPENS_AFTER_S, 0
    breaker.succeeded(0.0)
    while now < 5 * 3600:
        assert not breaker.exhausted(now)
        if (delay := breaker.delay(now)) > 0:
            now += delay
            continue
        breaker.admit()
        breaker.failed(now, "the last object")
        requests += 1
        if breaker.doubtful(now):
            breaker.failed(now, ITSELF)
        now += 0.1
    assert 0.9 * 5 * 3600 / PROBE_MOST_S < requests < 1.1 * 5 * 3600 / PROBE_MOST_S
    assert breaker.down_since == 0.0
    breaker.succeeded(now)
    assert breaker.delay(now) == 0
    assert now < PATIENCE_S


def test_nobody_is_asked_within_the_first_seconds():
    breaker = Breaker()
    breaker.succeeded(100.0)
    breaker.failed(100.0 + OPENS_AFTER_S - 0.1, "an object")
    assert not breaker.doubtful(100.0 + OPENS_AFTER_S - 0.1)
    assert breaker.doubtful(100.0 + OPENS_AFTER_S)


def test_several_requests_need_no_witness():
    assert not down().doubtful(100.0)


def test_errors_that_may_be_those_of_objects_never_open_it_alone():
    breaker = Breaker()
    breaker.succeeded(0.0)
    for n in range(20):
        breaker.failed(100.0 + n, f"object {n}", sure=False)
    assert breaker.down_since is None
    assert breaker.doubtful(120.0)
    breaker.failed(120.0, ITSELF)
    assert breaker.down_since == 0.0


@given(st.lists(st.tuples(st.sampled_from("sfa"), st.integers(0, 5), st.floats(0, 60)), max_size=60))
def test_it_always_lets_a_request_through_in_the_end(history: list[tuple[str, int, float]]):
    breaker, now = Breaker(), 0.0
    for kind, request, elapsed in history:
        now += elapsed
        if breaker.delay(now) == 0:
            breaker.admit()
        match kind:
            case "s":
                breaker.succeeded(now)
            case "f":
                breaker.failed(now, str(request))
            case _:
                breaker.abandoned()
    breaker.abandoned()
    assert breaker.delay(now + PROBE_MOST_S) == 0
