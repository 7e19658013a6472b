"""Questions that many tasks ask one by one, answered together.

A question waits only while others are being answered; all that came in meanwhile share the next answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from typing import Generic, TypeVar

import anyio

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lookups(Generic[K, V]):
    """Asks ``fetch`` for many keys at a time.

    Args:
        fetch: the values of those keys that have one. What it raises is raised for each of the keys.
    """

    def __init__(self, fetch: Callable[[Collection[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._fetch = fetch
        self._turn = anyio.Lock()
        self._next = _Batch[K, V]()

    async def get(self, key: K) -> V | None:
        """The value of a key, None if it has none."""
        batch = self._next
        batch.keys.add(key)
        # Whoever comes first after the answer before asks for all of the batch.
        async with self._turn:
            if batch is self._next:
                self._next = _Batch()
                await self._answer(batch)
        if not batch.answered:  # whoever asked was cancelled
            return (await self._fetch([key])).get(key)
        if batch.error is not None:
            raise batch.error
        return batch.values.get(key)

    async def _answer(self, batch: _Batch[K, V]) -> None:
        try:
            batch.values = await self._fetch(batch.keys)
        except Exception as error:  # noqa: BLE001 - raised by each that asked
            batch.error = error
        batch.answered = True


class _Batch(Generic[K, V]):
    """Keys that are asked for together."""

    def __init__(self) -> None:
        self.keys: set[K] = set()
        self.values: Mapping[K, V] = {}
        self.error: Exception | None = None
        self.answered = False
