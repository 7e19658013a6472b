"""Filters and orders of lists of runs: both spellings that are in use, made one.

The web application and older scripts say ``created_at``, ``config.lr`` and ``summary.loss``; what is stored
is ``createdAt``, ``config.lr.value`` and ``summary_metrics.loss``. Values and operators go out as they came.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.errors import ConfigError
from engine.records import Json
from engine.wandb.jsontext import encode_json

_NAMES = {
    "created_at": "createdAt",
    "heartbeat_at": "heartbeatAt",
    "updated_at": "updatedAt",
    "display_name": "displayName",
    "job_type": "jobType",
}
_SUMMARIES = ("summary", "summaryMetrics")
_EXAMPLE = '{"state": "finished", "config.lr": {"$gt": 0.01}}'


def filter_text(filters: Mapping[str, Json] | None) -> str:
    """A filter as the server takes it.

    Raises:
        ConfigError: it is no mapping, or cannot be written as JSON.
    """
    if filters is None:
        return "{}"
    if not isinstance(filters, Mapping):
        raise ConfigError(
            f"filters must be a dict, not {filters!r}", remedy=f"write them as MongoDB does: {_EXAMPLE}"
        )
    try:
        return encode_json(_normal(filters))
    except TypeError as error:
        raise ConfigError(f"the filters are no JSON: {error}", remedy=f"for example {_EXAMPLE}") from error


def _normal(filters: Mapping[str, Json]) -> dict[str, Json]:
    return {_key(key): _condition(key, condition) for key, condition in filters.items()}


def _condition(key: str, condition: Json) -> Json:
    if key in ("$and", "$or", "$nor"):
        if not isinstance(condition, (list, tuple)):
            raise ConfigError(
                f"{key} takes a list of filters", remedy=f"for example {{{key!r}: [{_EXAMPLE}]}}"
            )
        return [_normal(part) if isinstance(part, Mapping) else part for part in condition]
    return _normal(condition) if key == "$not" and isinstance(condition, Mapping) else condition


def order_text(order: str) -> str:
    """An order as the server takes it: ``+`` or ``-`` and a key.

    Raises:
        ConfigError: it names no key.
    """
    sign, key = (order[0], order[1:]) if order[:1] in ("+", "-") else ("+", order)
    if not key:
        raise ConfigError(f"{order!r} is no order", remedy="write +created_at or -summary_metrics.loss")
    path = _key(key)
    # Orders know the times by their other name alone.
    return sign + {"createdAt": "created_at", "heartbeatAt": "heartbeat_at"}.get(path, path)


def _key(key: str) -> str:
    section, dot, rest = key.partition(".")
    if section in _SUMMARIES and dot:
        return f"summary_metrics.{rest}"
    # Of a nested key it cannot be told where its first part ends.
    if section == "config" and rest and "." not in rest:
        return f"{key}.value"
    return _NAMES.get(key, key)
