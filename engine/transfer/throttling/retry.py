"""When to try again, and how long to wait first; one policy for both sides."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio
import tenacity

from engine.errors import EngineError, Transient

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Full-jitter exponential backoff over ``Transient`` errors.

    Attributes:
        attempts: how many times an operation may fail before its error is final. A ``RateLimited``
            answer, or one during an outage, is not a failure and uses up none: a server that throttles
            for an hour only costs an hour. The waits between them must be longer together than it takes
            to see that a server is down (``breaker.OPENS_AFTER_S``): by default they are 26 s on average.
        base_s: upper bound of the first wait, doubled each time, in seconds.
        cap_s: upper bound of any wait, in seconds.
    """

    attempts: int = 10
    base_s: float = 0.25
    cap_s: float = 20.0


DEFAULT_POLICY = RetryPolicy()


class _CountFailures(tenacity.stop.stop_base):
    """Stops after so many failures that count."""

    def __init__(self, attempts: int, already: int) -> None:
        self._left = attempts - already

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        if isinstance(error, Transient) and error.counts:
            self._left -= 1
        return self._left <= 0


class _Wait(tenacity.wait.wait_base):
    """Full jitter, but never less than what the server asked for."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._jitter = tenacity.wait_random_exponential(multiplier=policy.base_s, max=policy.cap_s)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        floor = error.retry_after_s if isinstance(error, Transient) else None
        return max(self._jitter(retry_state), floor or 0.0)


async def retrying(call: Callable[[], Awaitable[T]], policy: RetryPolicy = DEFAULT_POLICY) -> T:
    """Await ``call()`` until it succeeds, fails for good, or has failed ``policy.attempts`` times.

    The first attempt runs bare, because tenacity costs more than a small request's own bookkeeping;
    it takes over only after a failure.

    Raises:
        EngineError: the last error, as ``call`` raised it.
    """
    try:
        return await call()
    except Transient as first:
        failed = int(first.counts)
        if failed >= policy.attempts:
            raise
        waited = first.retry_after_s or 0.0
    made = 1
    retry = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(Transient),
        stop=_CountFailures(policy.attempts, already=failed),
        wait=_Wait(policy),
        reraise=True,
    )
    # The bare attempt has used up the first wait.
    await anyio.sleep(max(waited, random.uniform(0, policy.base_s)))

    # tenacity awaits only what it recognises as a coroutine function, which a lambda around one is not.
    async def attempt() -> T:
        nonlocal made
        made += 1
        try:
            return await call()
        except EngineError as error:
            error.attempts = made
            raise

    return await retry(attempt)
