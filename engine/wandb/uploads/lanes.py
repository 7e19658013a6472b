"""Whose upload comes next: small and large objects share the slots, and neither starves the other."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import Enum

import anyio

from engine.transfer.throttling.budget import ByteBudget


class Lane(Enum):
    """A kind of upload; the value is its share of the slots while others want them too."""

    SMALL = 0.6
    LARGE = 0.4


class Lanes:
    """Slots and memory for uploads, of all artifacts and runs of one destination.

    An idle lane lends its slots. Large objects hold theirs for long, so that they always leave an eighth
    of them free: a small one never waits for a large one to end.

    Args:
        slots: uploads at the same time.
        budget: memory for what they hold.
    """

    def __init__(self, slots: int, budget: ByteBudget) -> None:
        self.slots = slots
        self._budget = budget
        # What is kept for long is at most half of it: the other half always comes back, because whoever holds
        # a part of that waits for nobody who holds any.
        self._kept = ByteBudget(max(1, budget.total // 2))
        self._free = slots
        self._busy = dict.fromkeys(Lane, 0)
        self._most = {Lane.SMALL: slots, Lane.LARGE: slots - slots // 8}
        self._waiting: dict[Lane, deque[anyio.Event]] = {lane: deque() for lane in Lane}

    @asynccontextmanager
    async def hold(self, lane: Lane, size: int) -> AsyncGenerator[None]:
        """Hold a slot, and ``size`` bytes of memory, for the length of the block."""
        await self._acquire(lane)
        try:
            async with self.memory(size):
                yield
        finally:
            self._release(lane)

    def memory(self, size: int) -> AbstractAsyncContextManager[None]:
        """Hold memory for one object on its way, and wait for no other memory meanwhile."""
        return self._budget.hold(min(size, self._kept.total))

    @asynccontextmanager
    async def keep(self, size: int) -> AsyncGenerator[None]:
        """Hold memory for long, also while waiting for slots and for the memory of single objects."""
        async with self._kept.hold(size), self._budget.hold(min(size, self._kept.total)):
            yield

    def busy(self, lane: Lane) -> int:
        return self._busy[lane]

    async def _acquire(self, lane: Lane) -> None:
        waiting = self._waiting[lane]
        if not waiting and self._has_room(lane):
            self._take(lane)
            return
        granted = anyio.Event()
        waiting.append(granted)
        try:
            await granted.wait()
        except BaseException:
            if granted.is_set():
                self._release(lane)
            else:
                waiting.remove(granted)
            raise

    def _has_room(self, lane: Lane) -> bool:
        return self._free > 0 and self._busy[lane] < self._most[lane]

    def _take(self, lane: Lane) -> None:
        self._free -= 1
        self._busy[lane] += 1

    def _release(self, lane: Lane) -> None:
        self._free += 1
        self._busy[lane] -= 1
        while wanting := [lane for lane in Lane if self._waiting[lane] and self._has_room(lane)]:
            neediest = min(wanting, key=lambda lane: self._busy[lane] / lane.value)
            self._take(neediest)
            self._waiting[neediest].popleft().set()
