"""JSON as clients write it: with bare ``NaN`` and ``Infinity``."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson


def loads(text: str) -> Any:
    """Parse strict JSON fast, and Python's dialect of it all the same.

    Raises:
        ValueError: it is neither.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def strict(value: Any) -> Any:
    """A value with the numbers that strict JSON lacks spelled as texts: ``"NaN"``, ``"Infinity"``.

    Clients read them so where a value travels as raw JSON; a bare token breaks the official SDK.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: strict(part) for key, part in value.items()}
    if isinstance(value, list):
        return [strict(part) for part in value]
    return value
