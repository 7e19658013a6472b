"""How many bytes a second may pass, shared by everything that moves them in one direction."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio

BURST_S = 0.1
"""Bytes of so much time may pass at once after a pause."""


class Bandwidth:
    """A token bucket over bytes; first come, first served.

    Args:
        rate: bytes per second, None for no limit.
        clock: seconds, monotonic.
    """

    def __init__(self, rate: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        if rate is not None and rate <= 0:
            raise ValueError("a bandwidth must be positive")
        self.rate = rate
        self._clock = clock
        self._free_at = float("-inf")

    async def take(self, size: int) -> None:
        """Wait until ``size`` bytes may pass; any size is allowed, and a large one delays what follows."""
        if (delay := self.reserve(size, self._clock())) > 0:
            await anyio.sleep(delay)

    def reserve(self, size: int, now: float) -> float:
        """Take a place in the line; the seconds to wait for it."""
        if self.rate is None:
            return 0.0
        begins = max(self._free_at, now - BURST_S)
        self._free_at = begins + size / self.rate
        return max(0.0, self._free_at - now)
