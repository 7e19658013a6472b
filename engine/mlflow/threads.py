"""Blocking iterators, driven from async code."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from typing import TypeVar

import anyio
import anyio.to_thread

from engine.errors import EngineError

T = TypeVar("T")

Explain = Callable[[Exception], EngineError | None]


class Threads:
    """Runs blocking calls in worker threads, at most so many at a time.

    Args:
        at_once: how many calls may run at the same time.
        explain: turns an error of a driver or the system into one of ours; None if it cannot.
    """

    def __init__(self, at_once: int, explain: Explain) -> None:
        self._limiter = anyio.CapacityLimiter(at_once)
        self._explain = explain

    async def run(self, call: Callable[[], T]) -> T:
        """The result of ``call()``; its errors are explained."""
        try:
            return await anyio.to_thread.run_sync(call, limiter=self._limiter)
        except Exception as error:
            explained = self._explain(error)
            if explained is None:
                raise
            raise explained from error

    async def iterate(self, items: Generator[T]) -> AsyncGenerator[T]:
        """The items, each produced when it is asked for; left early, the generator is closed in a thread."""
        finished = object()
        drained = False
        try:
            while True:
                item = await self.run(lambda: next(items, finished))
                if item is finished:
                    drained = True
                    return
                yield item  # type: ignore[misc]
        finally:
            if not drained:
                with anyio.CancelScope(shield=True):
                    await self.run(items.close)
