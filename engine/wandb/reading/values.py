"""Values as W&B writes them: JSON in texts, times in ISO 8601."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import orjson

from engine.records import Json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG = 20
"""Digits of the smallest integer above 64 bits; below zero it is one less."""

_DOUBTFUL = b"0" * (_LONG - 1)


def parse(text: str) -> Json:
    """JSON exactly: with bare ``NaN`` and ``Infinity``, and integers of any length.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        encoded = text.encode()
        # orjson makes floats of integers beyond 64 bits.
        if not _may_hold_long_integers(encoded):
            return orjson.loads(encoded)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        pass  # a bare NaN, or a lone surrogate
    return json.loads(text)


def _may_hold_long_integers(text: bytes) -> bool:
    """Whether an integer may be in it that has no room in 64 bits; small fractions have as many digits.

    A regular expression takes far longer. Searching goes from the right, as CPython has no clever algorithm
    there that zeros upset.
    """
    shape = text.translate(_DIGITS_AS_ZEROS)
    start = len(shape)
    while (found := shape.rfind(_DOUBTFUL, 0, start)) >= 0:
        end, start = found + len(_DOUBTFUL), found
        while start and shape[start - 1] == ord("0"):
            start -= 1
        before = shape[start - 1 : start]
        if before != b"." and (end - start >= _LONG or before == b"-"):
            return True
    return False


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
