"""How many requests may go to a host at once.

One ``Throttle`` per host and class of endpoint, shared by everything in the process.
This first version caps concurrency and pauses after a ``RateLimited`` answer.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from enum import StrEnum

import anyio


class Endpoint(StrEnum):
    """Classes of endpoints that servers limit separately."""

    GRAPHQL = "graphql"
    FILESTREAM = "filestream"
    OBJECTS = "objects"
    MLFLOW_REST = "mlflow-rest"
    MLFLOW_ARTIFACTS = "mlflow-artifacts"


DEFAULT_CONCURRENCY = {
    Endpoint.GRAPHQL: 16,
    Endpoint.FILESTREAM: 16,
    Endpoint.OBJECTS: 32,
    Endpoint.MLFLOW_REST: 8,
    Endpoint.MLFLOW_ARTIFACTS: 16,
}


class Throttle:
    """Admits requests to one class of endpoint of one host."""

    def __init__(self, concurrency: int) -> None:
        self._slots = anyio.CapacityLimiter(concurrency)
        self._paused_until = 0.0
        self.rejected = 0

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None]:
        """Wait for a place among the requests in flight, and hold it for the block.

        Cancelled while waiting, it takes nothing.
        """
        # A fresh borrower object: one task may hold several slots, of several requests.
        borrower = object()
        await self._slots.acquire_on_behalf_of(borrower)
        try:
            # The pause may be prolonged while it is slept through.
            while (pause := self._paused_until - time.monotonic()) > 0:  # noqa: ASYNC110
                await anyio.sleep(pause)
            yield
        finally:
            self._slots.release_on_behalf_of(borrower)

    def on_rejected(self, retry_after_s: float) -> None:
        """The server asked for less: nobody sends before the time that it named."""
        self.rejected += 1
        self._paused_until = max(self._paused_until, time.monotonic() + retry_after_s)


class Throttles:
    """The throttles of one process, made as they are needed."""

    def __init__(self, concurrency: int | None = None) -> None:
        self._concurrency = concurrency
        self._throttles: dict[tuple[str, Endpoint], Throttle] = {}

    def of(self, host: str, endpoint: Endpoint) -> Throttle:
        key = (host, endpoint)
        if key not in self._throttles:
            limit = DEFAULT_CONCURRENCY[endpoint]
            if self._concurrency is not None:
                limit = self._concurrency
            self._throttles[key] = Throttle(limit)
        return self._throttles[key]
