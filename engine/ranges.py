"""Ranges of one object, fetched side by side and read in order.

One connection is often slower than the wire: a far-away server fills no window, an object store limits each
connection. What is being read streams straight through; ranges after it are fetched into memory, as long as
the reader waits for bytes rather than they for it, and as long as there is room. Nobody ever waits for room.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeAlias

import anyio

from engine.transfer.throttling.budget import ByteBudget

RANGE = 8 * 1024 * 1024
"""Bytes in a range: enough that a request for each costs little, few enough that several fit in memory."""

MOST_AHEAD = 3
"""Ranges that are fetched besides the one being read."""

FAST = 128 * 1024 * 1024
"""Bytes per second of a connection, about 1 Gbit/s, from which on more of them only cost processor time."""

Fetch: TypeAlias = Callable[[int, int], AsyncGenerator[bytes]]
"""Gives the bytes of an object from a start to a stop."""


class Meter:
    """Who waits for whom: the reader for the bytes, or they for the reader."""

    def __init__(self) -> None:
        self._starved_s = self._busy_s = 0.0
        self._flowed, self._flowed_s = 0, 0.0

    async def watch(self, pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        """Pass pieces on, and close them in the end."""
        async with aclosing(pieces):
            wanted = time.monotonic()
            begun = False
            async for piece in pieces:
                given = time.monotonic()
                self._starved_s += given - wanted
                if begun:
                    # What comes before the first piece is the latency of a request, no matter of speed.
                    self._flowed += len(piece)
                    self._flowed_s += given - wanted
                begun = True
                yield piece
                wanted = time.monotonic()
                self._busy_s += wanted - given

    def is_fast(self) -> bool:
        """Whether a single connection is as fast as makes sense."""
        return self._flowed > FAST * self._flowed_s

    def starved(self) -> bool:
        """Whether the reader mostly waited since this was asked last."""
        starved = self._starved_s > self._busy_s
        self._starved_s = self._busy_s = 0.0
        return starved


class _Ahead:
    """A range that is fetched before its turn."""

    def __init__(self, pieces: AsyncGenerator[bytes]) -> None:
        self._arrived: deque[bytes] = deque()
        self._news = asyncio.Event()
        # A task group could not stay open over a yield: who closes a generator may be another task.
        self._task = asyncio.create_task(self._fetch(pieces))

    async def _fetch(self, pieces: AsyncGenerator[bytes]) -> None:
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    self._arrived.append(piece)
                    self._news.set()
        finally:
            self._news.set()

    async def pieces(self) -> AsyncGenerator[bytes]:
        """What has arrived and what will; raises what fetching it raised."""
        while True:
            while self._arrived:
                yield self._arrived.popleft()
            if self._task.done():
                self._task.result()
                return
            self._news.clear()
            await self._news.wait()

    async def close(self) -> None:
        self._task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([self._task])
        if not self._task.cancelled():
            # An error in bytes that nobody wants any more concerns nobody.
            self._task.exception()


async def side_by_side(
    fetch: Fetch, start: int, stop: int, *, room: ByteBudget, meter: Meter
) -> AsyncGenerator[bytes]:
    """The bytes from ``start`` to ``stop``, in order.

    Args:
        room: memory for ranges that are not being read yet.
        meter: knows already how the bytes before ``start`` came.
    """
    ahead: deque[_Ahead] = deque()
    many = 0
    current: _Ahead | None = None
    planned = start
    try:
        while start < stop:
            many = min(MOST_AHEAD, 2 * many + 1) if meter.starved() else max(0, many - 1)
            end = min(start + RANGE, stop)
            if ahead:
                current = ahead.popleft()
                pieces = current.pieces()
            else:
                pieces = fetch(start, end)
            planned = max(planned, end)
            while planned < stop and len(ahead) < many and room.take_if_free(RANGE):
                beyond = min(planned + RANGE, stop)
                ahead.append(_Ahead(fetch(planned, beyond)))
                planned = beyond
            async with aclosing(meter.watch(pieces)) as watched:
                async for piece in watched:
                    yield piece
            if current is not None:
                current = None
                room.give_back(RANGE)
            start = end
    finally:
        for unread in (*ahead, *([current] if current is not None else [])):
            await unread.close()
            room.give_back(RANGE)
