"""Text and JSON as W&B takes them: strict, in UTF-8, and without other people's passwords."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from engine.records import Json

_PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s@]+@")


def encode_json(value: Json) -> str:
    """Strict JSON text, also of integers beyond 64 bits."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))


def encode_row(row: Mapping[str, Json]) -> str:
    """A row, a summary or a config; non-finite numbers are bare ``NaN`` and ``Infinity`` tokens."""
    try:
        line = orjson.dumps(row)
    except TypeError:  # an integer of more than 64 bits, or a lone surrogate
        return json.dumps(row, separators=(",", ":"))
    # orjson writes null for what is not finite; only a line with a null can hold such a value.
    if b"null" in line:
        return json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    return line.decode()


def clean_text(text: str) -> str:
    """Text without lone surrogates, which UTF-8 cannot hold; they become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def without_passwords(text: str) -> str:
    """Text whose URLs have ``***`` for a password."""
    return _PASSWORD.sub(r"\1:***@", text) if "://" in text else text


@dataclass(slots=True)
class Plain:
    """Makes values strict JSON, and counts what had to be changed for that.

    Args:
        redact: whether to hide the passwords in URLs as well.
        finite: whether numbers that are not finite become text, as strict JSON has none.
    """

    redact: bool = False
    finite: bool = True
    coerced: int = 0
    redacted: int = 0

    def of(self, value: Json) -> Json:
        if isinstance(value, str):
            return self.text(value)
        if self.finite and isinstance(value, float) and not math.isfinite(value):
            self.coerced += 1
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.of(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.of(item) for item in value]
        return value

    def text(self, text: str) -> str:
        cleaned = clean_text(text)
        self.coerced += cleaned != text
        if not self.redact:
            return cleaned
        open_to_all = without_passwords(cleaned)
        self.redacted += open_to_all != cleaned
        return open_to_all
