"""An event loop in a thread of its own, for callers that have none, or have one that is running already."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

from engine.errors import ConfigError
from engine.waiting import result_of

T = TypeVar("T")


class Loop:
    """Runs coroutines for threads that cannot await."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon: a program that ends without closing its Api ends all the same.
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine.sync", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine; interrupting the wait cancels it.

        Raises:
            ConfigError: the loop is closed, or this is the loop's own thread.
        """
        if self._loop.is_closed() or threading.current_thread() is self._thread:
            work.close()
            raise ConfigError("the Api is closed" if self._loop.is_closed() else "called from its own loop")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return result_of(future)
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncGenerator[T]) -> Iterator[T]:
        """The items one by one; whoever stops early closes the generator."""

        async def following() -> tuple[T, ...]:
            try:
                return (await anext(items),)
            except StopAsyncIteration:
                return ()

        try:
            while found := self.run(following()):
                yield found[0]
        finally:
            if not self._loop.is_closed():
                self.run(items.aclose())

    def close(self) -> None:
        """Stop, and wait until it has."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
