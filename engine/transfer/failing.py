"""How what did not arrive is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from engine.errors import EngineError

Tell: TypeAlias = Callable[[EngineError], Awaitable[None]]
"""Tells the ledger of it."""


class Failed(Protocol):
    """Records what did not arrive; raises it if nothing further can succeed."""

    async def __call__(self, item: str, subject: str, error: Exception, tell: Tell) -> EngineError: ...
