"""An event loop in a thread of its own, for callers that have none, or have one that is running already."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

from engine.errors import ConfigError
from engine.waiting import result_of

T = TypeVar("T")


class Loop:
    """Runs coroutines for threads that cannot await, until it is closed or nothing refers to it any more.

    Args:
        last: what is done at its end.
    """

    def __init__(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon: a program that ends without closing its Api ends all the same.
        self._thread = threading.Thread(target=_serve, args=(self._loop,), name="engine.sync", daemon=True)
        self._thread.start()
        # Runs and files go on working when their Api is forgotten, as in `Api().run(path).file(name)`, so
        # the end is that of what all of them share. It comes at the end of the program at the latest.
        self._closing = weakref.finalize(self, _end, self._loop, self._thread, last)

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
        """Do what is to be done last, and stop; may be called again."""
        self._closing()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _end(
    loop: asyncio.AbstractEventLoop,
    thread: threading.Thread,
    last: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    if threading.current_thread() is thread:
        # Garbage is collected in any thread, and this one cannot wait for itself.
        ending = loop.create_task(last())
        ending.add_done_callback(lambda _: loop.stop())
        return
    try:
        result_of(asyncio.run_coroutine_threadsafe(last(), loop))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
