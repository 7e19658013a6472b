"""Records as JSON and back, every value as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from engine.records import Json

RecordT = TypeVar("RecordT")

_types: Final[Callable[[Any], Mapping[str, Any]]] = cache(get_type_hints)

_PRIVATE: Final = frozenset({"locator", "local_path", "fingerprint"})
"""Where a source finds things, and how it tells whether they changed, is its own business."""


def plain(record: Any) -> Json:
    """A record, or what is in one, as JSON."""
    if is_dataclass(record):
        return {
            field.name: plain(getattr(record, field.name))
            for field in fields(record)
            if field.name not in _PRIVATE
        }
    if isinstance(record, Mapping):
        return {key: plain(value) for key, value in record.items()}
    if isinstance(record, tuple | list):
        return [plain(value) for value in record]
    return record.value if isinstance(record, Enum) else record


def record_of(kind: type[RecordT], told: Mapping[str, Json]) -> RecordT:
    """What ``plain`` made JSON of.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it is none.
    """
    types = _types(kind)
    return kind(**{name: _value(types[name], value) for name, value in told.items()})


def _value(kind: Any, value: Json) -> Any:
    if get_origin(kind) in (Union, UnionType):  # of something that may be missing, and None
        return None if value is None else _value(get_args(kind)[0], value)
    if get_origin(kind) is tuple:
        return tuple(_value(get_args(kind)[0], each) for each in value)
    if not isinstance(kind, type):
        return value
    if is_dataclass(kind):
        return record_of(kind, value)
    return kind(value) if issubclass(kind, Enum) else value
