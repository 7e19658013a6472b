"""What is asked of the server: attributes that have to be awaited, pages of lists."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from engine.errors import ConfigError

T = TypeVar("T")


def whole_number(what: str, value: object, *, least: int | None = None) -> int:
    """A number that makes sense in a question.

    Raises:
        ConfigError: it is none, or less than ``least``.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"{what} must be a whole number, not {value!r:.80}")
    if least is not None and value < least:
        raise ConfigError(f"{what} must be at least {least}, not {value}")
    return value


def page_size(per_page: object) -> int:
    """How much shall be in one page of a list.

    Raises:
        ConfigError: there is no such page.
    """
    return whole_number("per_page", per_page, least=1)


class Asked(Generic[T]):
    """``await run.metadata`` asks for it, each time anew; the attribute alone sends nothing."""

    def __init__(self, name: str, ask: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._name = name
        self.ask = ask

    def __await__(self) -> Generator[Any, None, T]:
        return self.ask().__await__()

    def __repr__(self) -> str:
        return f"<{self._name}: await it to ask the server>"
