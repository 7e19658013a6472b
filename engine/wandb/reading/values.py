"""Values as W&B writes them: JSON in texts, times in ISO 8601."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import orjson

from engine.records import Json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONG_NUMBER = re.compile(r"\d{19}")


def parse(text: str) -> Json:
    """JSON exactly: with bare ``NaN`` and ``Infinity``, and integers of any length.

    Raises:
        ValueError: it is no JSON.
    """
    # orjson turns integers beyond 64 bits into floats.
    if _LONG_NUMBER.search(text) is None:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass  # a bare NaN, or a lone surrogate
    return json.loads(text)


def parse_object(text: str | None) -> dict[str, Json]:
    """A JSON object; servers say null for an empty one.

    Raises:
        ValueError: it is no JSON object.
    """
    value = parse(text) if text else None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {text:.80}")  # noqa: TRY004 - of the text, not of an argument
    return value


def milliseconds(text: str | None) -> int | None:
    """A time; one without a zone is UTC, as older servers mean it.

    Raises:
        ValueError: it is no ISO 8601 time.
    """
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(milliseconds=1)
