"""Rows of histories by key, without Python code for each value where that can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter

from engine.records import Json


def by_key(rows: Sequence[Mapping[str, Json]]) -> dict[str, list[Json]] | None:
    """The values of each key, in the order of the first row; None unless all rows have the same keys.

    Most often they have.
    """
    keys = list(rows[0]) if rows else []
    if set(map(len, rows)) != {len(keys)}:
        return None
    try:
        return {key: list(map(itemgetter(key), rows)) for key in keys}
    except KeyError:
        return None  # as many keys, but others
