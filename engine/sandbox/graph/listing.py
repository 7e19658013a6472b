"""Lists of anything: filters in Mongo's style, an order, pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from engine.sandbox.context import Call
from engine.sandbox.graph.connections import Connection, connection
from engine.sandbox.graph.execution import snake
from engine.sandbox.graph.filters import MISSING, Filter, dotted
from engine.sandbox.refusals import bad_request

T = TypeVar("T")

Fields: TypeAlias = Mapping[str, Callable[[Call, T], Any]]
"""How to look at a row, by the names that filters and orders use, in snake_case; ``number`` is needed."""

MOMENTS = frozenset({"createdAt", "created_at", "updatedAt", "updated_at"})


def select(call: Call, rows: Sequence[T], fields: Fields[T], filters: str | None) -> list[T]:
    """The rows that match.

    Raises:
        Refusal: 400, the filter asks for what the rows have not.
    """
    wanted = Filter.parse(filters, moments=MOMENTS)
    getters = {path: _getter(fields, path) for path in wanted.paths}

    def matches(row: T) -> bool:
        def lookup(path: str) -> Any:
            value = getters[path](call, row)
            return MISSING if value is None else value

        return wanted.matches(lookup)

    return [row for row in rows if matches(row)]


def listed(
    call: Call,
    rows: Sequence[T],
    fields: Fields[T],
    *,
    filters: str | None = None,
    order: str | None = None,
    default: str = "-number",
    edge: Callable[[T], dict[str, Any]] | None = None,
    node: Callable[[T], Any] | None = None,
    **page: Any,
) -> Connection:
    """One page of the rows that match.

    Args:
        order: a field, with ``-`` for descending or ``+``; rows that are equal stay in order of creation.
        default: the order if the request names none.
    """
    wanted = order or default
    path = wanted.lstrip("+-")
    getter, number = _getter(fields, path), fields["number"]
    return connection(
        select(call, rows, fields, filters),
        lambda row: [_sortable(getter(call, row)), number(call, row)],
        descending=wanted.startswith("-"),
        edge=edge,
        node=node,
        **page,
    )


def _getter(fields: Fields[T], path: str) -> Callable[[Call, T], Any]:
    head, _, rest = path.partition(".")
    field = fields.get(snake(head))
    if field is None:
        raise bad_request(f"this list cannot be filtered or ordered by {path!r}")
    return (lambda call, row: dotted(field(call, row), rest)) if rest else field


def _sortable(value: Any) -> Any:
    return None if value is MISSING else value
