"""Changing a run that is there: read, merge, check, write.

What was changed since the run was asked for is laid over what the server has now, key by key. A key that
somebody else has changed meanwhile is a conflict, and nothing is written then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from engine.errors import ConfigError, Conflict
from engine.records import Json


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


ABSENT: Final = _Absent()
"""The value of a key that is not there."""


@dataclass(frozen=True, slots=True)
class Change:
    """One value that is to change: ``section`` is ``config``, ``summary``, or the name of a field."""

    section: str
    key: str
    before: Json
    after: Json

    def __str__(self) -> str:
        name = f"{self.section}.{self.key}" if self.key else self.section
        return f"{name}: {self.before!r} → {self.after!r}"


@dataclass(slots=True)
class Merge:
    """Finds out what to write.

    Attributes:
        changes: what the server will have that it has not now.
        conflicts: what somebody else has changed to something else.
    """

    changes: list[Change] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)

    def value(self, section: str, key: str, base: Json, wanted: Json, current: Json) -> bool:
        """Whether one value has to be written."""
        if same(base, wanted) or same(current, wanted):
            return False
        if not same(current, base):
            name = f"{section}.{key}" if key else section
            self.conflicts.append(f"{name} was {base!r}, is {current!r} now and should become {wanted!r}")
            return False
        self.changes.append(Change(section, key, current, wanted))
        return True

    def mapping(
        self, section: str, base: Mapping[str, Json], wanted: Mapping[str, Json], current: Mapping[str, Json]
    ) -> dict[str, Json]:
        """The keys to write, with ``ABSENT`` for those to remove."""
        return {
            key: wanted.get(key, ABSENT)
            for key in {**base, **wanted}
            if self.value(
                section, key, base.get(key, ABSENT), wanted.get(key, ABSENT), current.get(key, ABSENT)
            )
        }

    def check(self, subject: str) -> None:
        """
        Raises:
            Conflict: somebody else was here.
        """
        if self.conflicts:
            raise Conflict(
                "somebody else has changed it: " + "; ".join(self.conflicts),
                subject=subject,
                remedy="ask for the run again, look at it, and change that; or say overwrite=True",
            )


def same(one: Json, other: Json) -> bool:
    """Whether two values are the same as JSON: 1 is neither 1.0 nor true, NaN is NaN."""
    if one is ABSENT or other is ABSENT:
        return one is other
    return one is other or text(one, sort=True) == text(other, sort=True)


def text(value: Json, *, sort: bool = False) -> str:
    """JSON with bare ``NaN`` and ``Infinity``, as W&B's own client writes configs and summaries.

    Raises:
        ConfigError: it is no JSON.
    """
    try:
        return json.dumps(value, default=_plain, sort_keys=sort)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{value!r} cannot be written as JSON: {error}") from error


def _plain(value: Any) -> Json:
    """Scalars and arrays of NumPy and its kin as what they are, W&B's own values as they are stored."""
    if hasattr(value, "_log_type"):
        return value.to_json()
    for name in ("item", "tolist"):
        convert = getattr(value, name, None)
        if convert is not None and (name == "tolist" or getattr(value, "ndim", 0) == 0):
            return convert()
    raise TypeError(f"{type(value).__name__} is no JSON value")


def changed_config(stored: Mapping[str, Json], changes: Mapping[str, Json]) -> dict[str, Json]:
    """A stored config with some values changed; what else is in it stays, descriptions too."""
    merged = dict(stored)
    for key, value in changes.items():
        if value is ABSENT:
            merged.pop(key, None)
            continue
        entry = merged.get(key)
        merged[key] = {**(entry if isinstance(entry, dict) else {}), "value": value}
    return merged


def changed(stored: Mapping[str, Json], changes: Mapping[str, Json]) -> dict[str, Json]:
    """A mapping with some values changed."""
    return {key: value for key, value in {**stored, **changes}.items() if value is not ABSENT}
