"""Text that can be written as UTF-8 anywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

Lose: TypeAlias = Callable[[str, str, str], None]
"""``Context.lose``: kind, subject, detail."""

V = TypeVar("V")

NUL = "\0"
REPLACEMENT = "\ufffd"

_SURROGATES = re.compile("[\ud800-\udfff]")


class TextOf:
    """Makes the text of one object valid, and records what had to be replaced.

    Bytes that are no UTF-8 arrive here as lone surrogates, from JSON as well as from databases.
    """

    def __init__(self, subject: str, lose: Lose) -> None:
        self._subject = subject
        self._lose = lose

    def valid(self, text: str, what: str) -> str:
        """The text with lone surrogates replaced by U+FFFD."""
        # Nearly all text is ASCII, for which this costs nothing.
        if text.isascii():
            return text
        cleaned, count = _SURROGATES.subn(REPLACEMENT, text)
        if count:
            self._lose("text_not_utf8", self._subject, f"{what}: {count} characters became U+FFFD")
        return cleaned

    def shown(self, text: str, what: str) -> str:
        """Text that people read: valid, and also without NUL, at which other systems stop."""
        if NUL in text:
            self._lose("nul_replaced", self._subject, f"{what}: {text.count(NUL)} NUL became U+FFFD")
            text = text.replace(NUL, REPLACEMENT)
        return self.valid(text, what)

    def keys(self, items: Mapping[str, V]) -> Mapping[str, V]:
        """The mapping with valid keys; those that would fall together are told apart by a number."""
        if all(key.isascii() for key in items):
            return items
        cleaned: dict[str, V] = {}
        for key, value in items.items():
            name = base = self.valid(key, "key")
            count = 1
            while name in cleaned or (name != key and name in items):
                count += 1
                name = f"{base} ({count})"
            cleaned[name] = value
        return cleaned

    def mapping(self, items: Mapping[str, str]) -> Mapping[str, str]:
        """Keys and values made valid."""
        return {key: self.valid(value, f"value of {key}") for key, value in self.keys(items).items()}
