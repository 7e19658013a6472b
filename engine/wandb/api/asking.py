"""Attributes that the server has to be asked for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Asked(Generic[T]):
    """``await run.metadata`` asks for it, each time anew; the attribute alone sends nothing."""

    def __init__(self, name: str, ask: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._name = name
        self.ask = ask

    def __await__(self) -> Generator[Any, None, T]:
        return self.ask().__await__()

    def __repr__(self) -> str:
        return f"<{self._name}: await it to ask the server>"
