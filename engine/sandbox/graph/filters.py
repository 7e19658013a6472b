"""Mongo-style filters, as ``Api.runs(filters=…)`` and artifact lists send them.

wanted = Filter.parse('{"state": "finished", "config.lr.value": {"$gt": 0.01}}')
wanted.matches(lambda path: document.get(path, MISSING))
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from engine.sandbox import clock
from engine.sandbox.refusals import bad_request

Lookup: TypeAlias = Callable[[str], Any]
"""The value at a path, or ``MISSING``."""

Predicate: TypeAlias = Callable[[Lookup], bool]
Test: TypeAlias = Callable[[Any], bool]


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""What a lookup answers where a document has nothing; a filter for null matches it, too."""

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


class Filter:
    """A compiled filter.

    Attributes:
        paths: every path that it asks for, so that the caller need not load what is not asked.
    """

    __slots__ = ("_moments", "_predicate", "paths")

    def __init__(self, query: Mapping[str, Any], moments: frozenset[str] = frozenset()) -> None:
        self.paths: set[str] = set()
        self._moments = moments
        self._predicate = self._all(query)

    @classmethod
    def parse(cls, text: str | None, *, moments: frozenset[str] = frozenset()) -> Filter:
        """Compile JSON text; none, empty or ``null`` matches everything.

        Args:
            moments: paths whose values are milliseconds; operands there are ISO 8601 texts.

        Raises:
            Refusal: 400, an operator or operand is unknown.
        """
        query = json.loads(text) if text else None
        if not isinstance(query, (dict, type(None))):
            raise bad_request("filters must be a JSON object")
        return cls(query or {}, moments)

    def matches(self, lookup: Lookup) -> bool:
        """Whether the document behind ``lookup`` is wanted."""
        return self._predicate(lookup)

    def _all(self, query: Mapping[str, Any]) -> Predicate:
        parts = [self._clause(key, condition) for key, condition in query.items()]
        return lambda lookup: all(part(lookup) for part in parts)

    def _clause(self, key: str, condition: Any) -> Predicate:
        if key in ("$and", "$or", "$nor"):
            parts = [self._all(part) for part in _list_of(dict, key, condition)]
            if key == "$and":
                return lambda lookup: all(part(lookup) for part in parts)
            wanted = key == "$or"
            return lambda lookup: any(part(lookup) for part in parts) is wanted
        if key == "$not":
            inner = self._all(condition)
            return lambda lookup: not inner(lookup)
        if key.startswith("$"):
            raise bad_request(f"unknown filter operator {key}")
        self.paths.add(key)
        test = self._test(key, condition)
        return lambda lookup: test(lookup(key))

    def _test(self, path: str, condition: Any) -> Test:
        if not (isinstance(condition, dict) and any(name.startswith("$") for name in condition)):
            return self._operator(path, "$eq", condition, {})
        tests = [
            self._operator(path, name, operand, condition)
            for name, operand in condition.items()
            if name != "$options"
        ]
        return lambda value: all(test(value) for test in tests)

    def _operator(self, path: str, name: str, operand: Any, siblings: Mapping[str, Any]) -> Test:
        if name == "$not":
            inner = self._test(path, operand)
            return lambda value: not inner(value)
        if name == "$exists":
            return lambda value: (value is not MISSING) is bool(operand)
        if name == "$regex":
            return _regex(operand, siblings.get("$options", ""))
        if name in ("$in", "$nin"):
            options = [self._moment(path, option) for option in _list_of(object, name, operand)]
            return lambda value: any(_equal(value, option) for option in options) is (name == "$in")
        operand = self._moment(path, operand)
        if name == "$eq":
            return lambda value: _equal(value, operand)
        if name == "$ne":
            return lambda value: not _equal(value, operand)
        if name in _COMPARISONS:
            compare = _COMPARISONS[name]
            return lambda value: _kind(value) == _kind(operand) is not None and compare(value, operand)
        raise bad_request(f"unknown filter operator {name}")

    def _moment(self, path: str, operand: Any) -> Any:
        if path not in self._moments or operand is None:
            return operand
        try:
            return clock.from_wire(operand)
        except (TypeError, ValueError) as error:
            raise bad_request(f"{path} is compared with {operand!r}, which is no ISO 8601 time") from error


def dotted(document: Any, path: str) -> Any:
    """The value at a dotted path, where keys may themselves contain dots; ``MISSING`` if there is none."""
    if not isinstance(document, dict):
        return MISSING
    if path in document:
        return document[path]
    dot = path.rfind(".")
    while dot > 0:
        if path[:dot] in document:
            found = dotted(document[path[:dot]], path[dot + 1 :])
            if found is not MISSING:
                return found
        dot = path.rfind(".", 0, dot)
    return MISSING


def _equal(value: Any, operand: Any) -> bool:
    if value is MISSING:
        value = None
    if isinstance(value, list) and not isinstance(operand, list):
        return any(_equal(item, operand) for item in value)
    if isinstance(value, bool) is not isinstance(operand, bool):
        return False
    return bool(value == operand)


def _kind(value: Any) -> str | None:
    """The class of values that can be ordered among themselves."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return None if math.isnan(value) else "number"
    return "text" if isinstance(value, str) else None


def _regex(pattern: Any, options: str) -> Test:
    try:
        compiled = re.compile(pattern, re.IGNORECASE if "i" in options else 0)
    except (TypeError, re.error) as error:
        raise bad_request(f"not a regular expression: {pattern!r}: {error}") from error

    def test(value: Any) -> bool:
        values = value if isinstance(value, list) else [value]
        return any(isinstance(item, str) and compiled.search(item) is not None for item in values)

    return test


def _list_of(kind: type, name: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        raise bad_request(f"{name} takes a list" + (" of objects" if kind is dict else ""))
    return value
