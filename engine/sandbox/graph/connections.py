"""Relay connections with cursors that stay put while rows come and go.

A cursor is the sort key of its row, so that a page goes on after it even if the row itself is gone.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from engine.sandbox.refusals import bad_request

T = TypeVar("T")

Key: TypeAlias = Sequence[Any]
"""JSON values that order a row; the last part must be unique, such as the row's number."""

Connection: TypeAlias = dict[str, Any]


def connection(
    items: Sequence[T],
    key: Callable[[T], Key],
    *,
    descending: Sequence[bool] | bool = False,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    node: Callable[[T], Any] | None = None,
    edge: Callable[[T], dict[str, Any]] | None = None,
) -> Connection:
    """Sort, cut out one page, and wrap it as edges and pageInfo.

    Args:
        items: all rows that match, in any order.
        key: what orders a row and makes up its cursor.
        descending: of all parts of the key, or of each part.
        node: turns a row into the node; default is the row itself.
        edge: further fields of an edge.
    """
    keyed = _sorted([(key(item), item) for item in items], descending)
    total = len(keyed)
    start = _position(keyed, _decode(after), descending, past=True) if after else 0
    stop = _position(keyed, _decode(before), descending, past=False) if before else total
    stop = max(start, stop)
    if first is not None:
        if first < 0:
            raise bad_request("first must not be negative")
        stop = min(stop, start + first)
    elif last is not None:
        start = max(start, stop - max(0, last))
    edges = [
        {"cursor": encode_cursor(k), "node": node(item) if node else item, **(edge(item) if edge else {})}
        for k, item in keyed[start:stop]
    ]
    return wrap(edges, has_next=stop < total, has_previous=start > 0, total=total)


def wrap(edges: list[dict[str, Any]], *, has_next: bool, has_previous: bool, total: int) -> Connection:
    """Ready-made edges as a connection."""
    return {
        "edges": edges,
        "totalCount": total,
        "pageInfo": {
            "startCursor": edges[0]["cursor"] if edges else None,
            "endCursor": edges[-1]["cursor"] if edges else None,
            "hasNextPage": has_next,
            "hasPreviousPage": has_previous,
        },
    }


def encode_cursor(key: Key) -> str:
    """The cursor of a row with this key."""
    return base64.urlsafe_b64encode(json.dumps(list(key)).encode()).decode()


def _decode(cursor: str) -> Key:
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor))
    except (binascii.Error, ValueError) as error:
        raise bad_request(f"{cursor!r} is not a cursor of this list") from error
    if not isinstance(key, list):
        raise bad_request(f"{cursor!r} is not a cursor of this list")
    return key


def _sorted(keyed: list[tuple[Key, T]], descending: Sequence[bool] | bool) -> list[tuple[Key, T]]:
    if isinstance(descending, bool):
        return sorted(keyed, key=lambda pair: [_orderable(part) for part in pair[0]], reverse=descending)
    # Stable sorts by one part after the other, the most important last.
    for part in reversed(range(len(descending))):
        keyed = sorted(keyed, key=lambda pair: _orderable(pair[0][part]), reverse=descending[part])
    return keyed


def _position(
    keyed: Sequence[tuple[Key, Any]], mark: Key, descending: Sequence[bool] | bool, *, past: bool
) -> int:
    """How many rows come before the mark; with ``past``, the row at the mark counts as well."""
    low, high = 0, len(keyed)
    while low < high:
        middle = (low + high) // 2
        order = _compare(keyed[middle][0], mark, descending)
        if order < 0 or (past and order == 0):
            low = middle + 1
        else:
            high = middle
    return low


def _compare(a: Key, b: Key, descending: Sequence[bool] | bool) -> int:
    if len(a) != len(b):
        raise bad_request("a cursor belongs to the order that it was made in")
    for part, (x, y) in enumerate(zip(map(_orderable, a), map(_orderable, b), strict=True)):
        if x != y:
            down = descending if isinstance(descending, bool) else descending[part]
            return -1 if (x < y) != down else 1
    return 0


def _orderable(value: Any) -> tuple[int, Any]:
    """Values of any JSON type in one order: null, numbers, texts, others by their JSON."""
    if value is None:
        return 0, 0
    if isinstance(value, (int, float)):
        return 1, value
    return (2, value) if isinstance(value, str) else (3, json.dumps(value))


def position(cursor: str) -> int:
    """The number in a cursor whose key is one number, such as that of a line.

    Raises:
        Refusal: 400.
    """
    key = _decode(cursor)
    if len(key) != 1 or not isinstance(key[0], int):
        raise bad_request(f"{cursor!r} is not a cursor of this list")
    return key[0]
