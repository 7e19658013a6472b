"""Filters and orders of lists of runs, as texts that the server takes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from engine.errors import ConfigError
from engine.records import Json
from engine.wandb.jsontext import encode_json
from engine.wandb.reading.filters import EXAMPLE, field, normal


def filter_text(filters: Mapping[str, Json] | None) -> str:
    """A filter as the server takes it.

    Raises:
        ConfigError: it is no mapping, or cannot be written as JSON.
    """
    if filters is None:
        return "{}"
    if not isinstance(filters, Mapping):
        raise ConfigError(
            f"filters must be a dict, not {filters!r}", remedy=f"write them as MongoDB does: {EXAMPLE}"
        )
    asked = normal(filters)
    try:
        # Else it would become a null, which asks for something else.
        if not _is_finite(asked):
            raise ConfigError(
                f"{filters!r} asks for a number that JSON has not", remedy="leave out NaN and infinities"
            )
        return encode_json(asked)
    except TypeError as error:
        raise ConfigError(f"the filters are no JSON: {error}", remedy=f"for example {EXAMPLE}") from error


def _is_finite(value: Json) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def order_text(order: object) -> str:
    """An order as the server takes it: ``+`` or ``-`` and a key.

    Raises:
        ConfigError: it names no key.
    """
    found = re.fullmatch(r"([+-]?)([^+\s-].*)", order) if isinstance(order, str) else None
    if found is None:
        raise ConfigError(f"{order!r} is no order", remedy="write +created_at or -summary_metrics.loss")
    path = field(found[2])
    # Orders know the times by their other name alone.
    named = {"createdAt": "created_at", "heartbeatAt": "heartbeat_at"}.get(path, path)
    return (found[1] or "+") + named
