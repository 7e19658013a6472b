"""How commands run their coroutine: on uvloop where there is one, and Ctrl-C as the README says."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio

from engine.errors import ConfigError, EngineError, PreflightError
from engine.transfer.background import Background

T = TypeVar("T")

INTERRUPTED = 130


def exit_status(error: EngineError) -> int:
    """2 if the request was wrong and nothing was started, 3 if it could not go on."""
    # Of several errors a wrong request counts, because it stays wrong when the others are mended.
    errors = error.errors if isinstance(error, PreflightError) else (error,)
    return 2 if any(isinstance(one, ConfigError) for one in errors) else 3


def run_async(call: Callable[[], Awaitable[T]]) -> T:
    """Run ``call()`` in a fresh event loop."""
    uvloop = importlib.util.find_spec("uvloop") is not None
    return anyio.run(call, backend_options={"use_uvloop": uvloop})


@asynccontextmanager
async def on_interrupt(*reactions: Callable[[], None]) -> AsyncGenerator[None]:
    """While in the block, the n-th SIGINT or SIGTERM calls the n-th reaction, later ones the last."""

    async def listen(started: anyio.Event) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            started.set()
            received = 0
            async for _ in signals:
                reactions[min(received, len(reactions) - 1)]()
                received += 1

    async with Background() as tasks:
        started = anyio.Event()
        tasks.start_soon(listen, started)
        await started.wait()
        yield
