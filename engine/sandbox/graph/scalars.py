"""W&B's own scalar types."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
from graphql import (
    BooleanValueNode,
    FloatValueNode,
    GraphQLError,
    GraphQLScalarType,
    IntValueNode,
    StringValueNode,
    ValueNode,
    value_from_ast_untyped,
)

from engine.sandbox import clock

_INT64 = 2**63


def _json_text(value: Any) -> str:
    """JSON in a string. Python's dialect of it, for clients write bare NaN into summaries."""
    if not isinstance(value, str):
        raise GraphQLError(f"JSONString cannot represent a value that is not a string: {value!r:.80}")
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        try:
            json.loads(value)
        except ValueError as error:
            raise GraphQLError(f"JSONString holds no JSON: {error}") from error
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise GraphQLError(f"cannot represent a value that is not a string: {value!r:.80}")
    return value


def _int64(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -_INT64 <= value < _INT64:
        raise GraphQLError(f"not a 64-bit integer: {value!r:.80}")
    return value


def _moment(value: Any) -> str:
    text = _text(value)
    try:
        clock.from_wire(text)
    except ValueError as error:
        raise GraphQLError(f"not an ISO 8601 time: {text!r:.80}") from error
    return text


def _anything(value: Any) -> Any:
    return value


def bind(scalar: GraphQLScalarType) -> None:
    """Give a scalar of the schema its meaning; GraphQL's own scalars stay as they are."""
    rules: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
        "JSONString": (_text, _json_text),
        "JSON": (_anything, _anything),
        "Int64": (_int64, _int64),
        "DateTime": (_text, _moment),
        "Duration": (_int64, _int64),
    }
    if scalar.name not in rules:
        return
    serialize, parse_value = rules[scalar.name]
    any_literal = scalar.name == "JSON"

    def parse_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
        if any_literal:
            return value_from_ast_untyped(node, variables)
        if isinstance(node, IntValueNode):
            return parse_value(int(node.value))
        if isinstance(node, (StringValueNode, FloatValueNode, BooleanValueNode)):
            return parse_value(node.value)
        raise GraphQLError(f"{scalar.name} cannot represent this literal", node)

    scalar.serialize = serialize  # type: ignore[assignment,method-assign]
    scalar.parse_value = parse_value  # type: ignore[assignment,method-assign]
    scalar.parse_literal = parse_literal  # type: ignore[method-assign]
