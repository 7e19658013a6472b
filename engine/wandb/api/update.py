"""Changing a run that is there: read, merge, check, write.

What was changed since the run was asked for is laid over what the server has now, key by key. A key that
somebody else has changed meanwhile is a conflict, and nothing is written then.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from engine.errors import ConfigError, Conflict
from engine.records import Json
from engine.wandb.api.fields import INTERNAL


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
        TypeError, ValueError: it is no JSON.
    """
    return json.dumps(value, default=_plain, sort_keys=sort)


def checked_values(section: str, values: Mapping[str, Json]) -> Mapping[str, Json]:
    """Values by texts that can be written as JSON.

    Raises:
        ConfigError: it is something else, or a key that W&B's client keeps for itself.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"the {section} must be a dict, not {values!r:.80}")
    for key, value in values.items():
        if not isinstance(key, str):
            raise ConfigError(f"keys of the {section} are texts, not {key!r}")
        if section == "config" and key in INTERNAL:
            raise ConfigError(
                f"{key!r} in a config belongs to W&B's own client", remedy="leave it out; it stays as it is"
            )
        try:
            text(value, sort=True)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{section}.{key} cannot be written as JSON: {error}", exc=error) from error
    return values


def checked_text(name: str, value: str | None) -> str | None:
    """A text that can be sent, or nothing.

    Raises:
        ConfigError: it is neither.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be a text, not {value!r:.80}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{name} is no text in UTF-8: {error}", exc=error) from error
    return value


def checked_tags(tags: object) -> list[str]:
    """Tags, each once, in their order.

    Raises:
        ConfigError: they are no list of texts.
    """
    listed = list(tags) if isinstance(tags, Iterable) and not isinstance(tags, str) else [None]
    if not all(isinstance(tag, str) for tag in listed):
        raise ConfigError(f"tags must be a list of texts, not {tags!r}", remedy='for example tags=["best"]')
    return [checked_text("a tag", tag) or "" for tag in dict.fromkeys(listed)]


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
