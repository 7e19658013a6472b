"""Many small jobs at once, a bounded number of them at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio

T = TypeVar("T")


async def for_each(
    items: AsyncIterator[T] | Iterable[T],
    work: Callable[[T], Awaitable[object]],
    *,
    limit: int,
    ahead: int = 0,
) -> None:
    """Await ``work`` of every item, at most ``limit`` at a time; the first failure cancels the others.

    Args:
        ahead: how many items may be made before anybody has time for them.

    Raises:
        Exception: the first failure as it was raised, not in a group.
    """
    failures: list[Exception] = []
    give, take = anyio.create_memory_object_stream[T](ahead)

    def fail(error: Exception) -> None:
        failures.append(error)
        group.cancel_scope.cancel()

    # A task costs five times as much as handing on an item, so tasks stay for as many as there are.
    async def worker(first: T) -> None:
        try:
            await work(first)
            async for item in take:
                await work(item)
        except Exception as error:  # noqa: BLE001 - raised below, bare
            fail(error)

    with give, take:
        async with anyio.create_task_group() as group:
            workers = 0
            try:
                async for item in _each(items):
                    if workers < limit:
                        workers += 1
                        group.start_soon(worker, item)
                    else:
                        await give.send(item)
            except Exception as error:  # noqa: BLE001 - raised below, bare
                fail(error)
            give.close()
    if failures:
        raise failures[0]


async def _each(items: AsyncIterator[T] | Iterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterator):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


class KeyedLocks:
    """A lock for each key that somebody holds or waits for."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[anyio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncIterator[None]:
        lock, users = self._locks.get(key, (anyio.Lock(), 0))
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = lock, users - 1
