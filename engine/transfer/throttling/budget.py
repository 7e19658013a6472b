"""A weighted semaphore over bytes: how much payload may be in memory at once."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

DEFAULT_BYTES_IN_FLIGHT = 256 * 1024 * 1024


class ByteBudget:
    """Bytes that may be held in memory at the same time, granted first come, first served.

    A request for more than the whole budget is granted when nothing else is held,
    so that an object larger than the budget passes alone instead of waiting for ever.
    """

    def __init__(self, total: int = DEFAULT_BYTES_IN_FLIGHT) -> None:
        if total <= 0:
            raise ValueError("a byte budget must be positive")
        self.total = total
        self.in_flight = 0
        self.peak = 0
        self._waiting: deque[tuple[int, anyio.Event]] = deque()

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncGenerator[None]:
        """Hold ``size`` bytes of the budget for the length of the block.

        Cancelled while waiting, it leaves the queue and takes nothing.
        """
        size = min(size, self.total)
        await self._acquire(size)
        try:
            yield
        finally:
            self.give_back(size)

    def take_if_free(self, size: int) -> bool:
        """Take ``size`` bytes if they are free and nobody waits for any; they have to be given back."""
        if self._waiting or self.in_flight + size > self.total:
            return False
        self._take(size)
        return True

    def give_back(self, size: int) -> None:
        self.in_flight -= size
        self._grant()

    async def _acquire(self, size: int) -> None:
        if not self._waiting and self.in_flight + size <= self.total:
            self._take(size)
            return
        granted = anyio.Event()
        ticket = (size, granted)
        self._waiting.append(ticket)
        try:
            await granted.wait()
        except BaseException:
            if granted.is_set():
                self.in_flight -= size
            else:
                self._waiting.remove(ticket)
            self._grant()
            raise

    def _grant(self) -> None:
        while self._waiting and self.in_flight + self._waiting[0][0] <= self.total:
            size, granted = self._waiting.popleft()
            self._take(size)
            granted.set()

    def _take(self, size: int) -> None:
        self.in_flight += size
        self.peak = max(self.peak, self.in_flight)
