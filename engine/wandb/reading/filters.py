"""Fields of runs in filters and orders: both spellings that are in use, made one.

The web application and older scripts say ``created_at``, ``config.lr`` and ``summary.loss``; what is stored
is ``createdAt``, ``config.lr.value`` and ``summary_metrics.loss``. Values and operators stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engine.errors import ConfigError
from engine.records import Json

EXAMPLE: Final = '{"state": "finished", "config.lr": {"$gt": 0.01}}'

_NAMES: Final = {
    "created_at": "createdAt",
    "heartbeat_at": "heartbeatAt",
    "updated_at": "updatedAt",
    "display_name": "displayName",
    "job_type": "jobType",
}
_SUMMARIES: Final = ("summary", "summaryMetrics")


def field(name: str) -> str:
    """A field by the name that the server knows."""
    section, dot, rest = name.partition(".")
    if section in _SUMMARIES and dot:
        return f"summary_metrics.{rest}"
    # Of a nested key it cannot be told where its first part ends.
    if section == "config" and rest and "." not in rest:
        return f"{name}.value"
    return _NAMES.get(name, name)


def normal(filters: Mapping[str, Json]) -> dict[str, Json]:
    """A filter in the manner of MongoDB, with fields by the names that the server knows.

    Raises:
        ConfigError: a field is no text, or what combines filters has no list of them.
    """
    for name in filters:
        if not isinstance(name, str):
            raise ConfigError(f"{name!r} in a filter is no name of a field", remedy=f"for example {EXAMPLE}")
    return {field(name): _condition(name, condition) for name, condition in filters.items()}


def _condition(name: str, condition: Json) -> Json:
    if name in ("$and", "$or", "$nor"):
        if not isinstance(condition, (list, tuple)):
            raise ConfigError(
                f"{name} takes a list of filters", remedy=f"for example {{{name!r}: [{EXAMPLE}]}}"
            )
        return [normal(part) if isinstance(part, Mapping) else part for part in condition]
    return normal(condition) if name == "$not" and isinstance(condition, Mapping) else condition
