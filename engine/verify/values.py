"""When two values are the same, whichever system they were read from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Final, TypeAlias

from engine.records import Json

Fact: TypeAlias = tuple[str, ...]
"""What is said of an object: a field, and for those with many values the key: ``("config", "lr")``."""

Facts: TypeAlias = Mapping[Fact, Json]

_SHOWN: Final = 80


@dataclass(frozen=True, slots=True)
class OneOf:
    """Any of some values; the first is the one that is hoped for."""

    values: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Anything:
    """Any value, or none. For a field without a key: also for all its keys."""


ANYTHING: Final = Anything()


def canonical(value: Json) -> str:
    """One text for one value: NaN equals NaN, 1 is not 1.0, true is not 1, null is not absent."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def _plain(value: object) -> Json:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def metric(value: Json) -> Json:
    """A logged value as metrics are compared: by number, so that 1 is 1.0 and -0.0 is 0.0.

    Trackers keep metrics as floats and write a whole one either way.
    """
    if type(value) is int:
        return value if abs(value) > 2**53 else float(value)
    if type(value) is float:
        return value + 0.0
    return value


def same(expected: Json, found: Json) -> bool:
    """Whether a value is what was expected."""
    if isinstance(expected, OneOf):
        return any(same(value, found) for value in expected.values)
    # Most values are short texts, for which JSON would cost more than all the rest.
    if type(expected) is str and type(found) is str:
        return expected == found
    return canonical(expected) == canonical(found)


def shown(value: Json) -> str:
    """A value as people read it, cut to a line."""
    if isinstance(value, OneOf):
        return " or ".join(map(shown, value.values))
    text = canonical(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def named(fact: Fact) -> str:
    """A fact as people call it: ``config 'lr'``."""
    field, *keys = fact
    return " ".join([field, *map(repr, keys)])


def differing_facts(expected: Facts, found: Facts) -> Iterator[tuple[str, str, str]]:
    """What is not said as expected, as (kind, field, detail).

    A field without a value may as well be null; a key is there or it is not.
    """
    for fact in sorted(expected.keys() | found.keys()):
        if expected.get(fact) == ANYTHING or expected.get(fact[:1]) == ANYTHING:
            continue
        if fact not in found:
            if len(fact) > 1 or not same(expected[fact], None):
                yield "missing", fact[0], f"{named(fact)} is missing; {shown(expected[fact])} expected"
        elif fact not in expected:
            if len(fact) > 1 or found[fact] is not None:
                yield "extra", fact[0], f"{named(fact)} is {shown(found[fact])}; the source has none"
        elif not _agree(fact, expected[fact], found[fact]):
            detail = f"{named(fact)}: {shown(expected[fact])} expected, {shown(found[fact])} found"
            yield "changed", fact[0], detail


def _agree(fact: Fact, expected: Json, found: Json) -> bool:
    if fact[0] == "summary":
        return same(metric(expected), metric(found)) or same(expected, found)
    return same(expected, found)
