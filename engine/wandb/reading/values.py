"""Values as W&B writes them: JSON in texts, times in ISO 8601."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import orjson

from engine.records import Json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG, _LONG_NEGATIVE = b"0" * 20, b"-" + b"0" * 19
"""What an integer that has no room in 64 bits looks like then, whichever it is."""

_DOUBTFUL = b"0" * 19
"""What is in both."""


def parse(text: str) -> Json:
    """JSON exactly: with bare ``NaN`` and ``Infinity``, and integers of any length.

    Raises:
        ValueError: it is no JSON.
    """
    # orjson makes floats of integers beyond 64 bits. Finding them by a regular expression takes far longer.
    try:
        shape = text.encode().translate(_DIGITS_AS_ZEROS)
        # Searching from the right is quicker by far: CPython has no clever algorithm there that zeros upset.
        if shape.rfind(_DOUBTFUL) < 0 or (_LONG not in shape and _LONG_NEGATIVE not in shape):
            return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
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
