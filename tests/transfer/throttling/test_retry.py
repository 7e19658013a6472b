"""Retries: only what may help is tried again, throttling costs no attempt, the server's wait is kept."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import pytest

from engine.errors import AuthError, EngineError, RateLimited, Transient
from engine.transfer.throttling.retry import RetryPolicy, retrying

pytestmark = pytest.mark.anyio

QUICK = RetryPolicy(attempts=3, base_s=0.001, cap_s=0.002)


def failing(*errors: EngineError) -> tuple[Callable[[], Awaitable[str]], list[float]]:
    """A call that raises each error in turn, then succeeds; and the times at which it was called."""
    left, calls = list(errors), []

    async def call() -> str:
        calls.append(time.monotonic())
        if left:
            raise left.pop(0)
        return "done"

    return call, calls


async def test_success_needs_one_attempt():
    call, calls = failing()
    assert await retrying(call, QUICK) == "done"
    assert len(calls) == 1


async def test_a_transient_error_is_tried_again():
    call, calls = failing(Transient("reset"), Transient("reset"))
    assert await retrying(call, QUICK) == "done"
    assert len(calls) == 3


async def test_the_last_error_is_raised_when_the_attempts_are_used_up():
    call, calls = failing(*(Transient(f"reset {n}") for n in range(9)))
    with pytest.raises(Transient, match="reset 2"):
        await retrying(call, QUICK)
    assert len(calls) == 3


async def test_a_single_attempt_can_be_asked_for():
    call, calls = failing(Transient("reset"))
    with pytest.raises(Transient):
        await retrying(call, RetryPolicy(attempts=1))
    assert len(calls) == 1


async def test_a_permanent_error_is_raised_at_once():
    call, calls = failing(AuthError("no"))
    with pytest.raises(AuthError):
        await retrying(call, QUICK)
    assert len(calls) == 1


async def test_an_error_that_turns_permanent_ends_the_retries():
    call, calls = failing(Transient("reset"), AuthError("no"))
    with pytest.raises(AuthError):
        await retrying(call, QUICK)
    assert len(calls) == 2


async def test_throttling_uses_up_no_attempt():
    call, calls = failing(
        *(RateLimited("slow down") for _ in range(20)), Transient("reset"), Transient("reset")
    )
    assert await retrying(call, QUICK) == "done"
    assert len(calls) == 23


async def test_the_wait_that_the_server_asks_for_is_kept():
    call, calls = failing(Transient("reset"), RateLimited("slow down", retry_after_s=0.2))
    await retrying(call, QUICK)
    assert calls[2] - calls[1] >= 0.2


async def test_the_wait_that_the_server_asks_for_is_kept_after_the_first_attempt_too():
    call, calls = failing(RateLimited("slow down", retry_after_s=0.2))
    await retrying(call, QUICK)
    assert calls[1] - calls[0] >= 0.2
