"""Run filters in the manner of MongoDB, evaluated here: for sources that have no server to do it.

The fields are those of W&B's filters, in both of its spellings: ``config.lr`` or ``config.lr.value``,
``summary_metrics.loss`` or ``summary.loss``, ``state``, ``tags``, ``group``, ``display_name``, ``name`` (the
id of the run, as W&B calls it), ``username``, ``job_type``, ``created_at``, ``duration`` (seconds); besides
``labels.KEY``. Times are compared as times, in whichever zone they are written; without one they are UTC.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from engine.errors import ConfigError, Side
from engine.records import Json, Run

_MISSING: Final = object()

DURATION: Final = "duration"

_FIELDS: Final[Mapping[str, str]] = {
    "id": "id",
    "name": "id",
    "displayname": "name",
    "state": "state",
    "tags": "tags",
    "group": "group",
    "jobtype": "job_type",
    "notes": "notes",
    "user": "user",
    "username": "user",
    "host": "host",
    "sweep": "sweep",
    "createdat": "started_at",
    "heartbeatat": "heartbeat_at",
    "exitcode": "exit_code",
    "duration": DURATION,
}
_TIMES: Final = frozenset({"started_at", "heartbeat_at"})
_MAPPINGS: Final = {
    "config": "config",
    "summary": "summary",
    "summary_metrics": "summary",
    "summaryMetrics": "summary",
    "labels": "labels",
}


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Json, Json], bool]:
    """Only values of one sort have an order, as with MongoDB; a bool is no number there."""

    def holds(value: Json, wanted: Json) -> bool:
        numbers = (int, float)
        if isinstance(value, bool) != isinstance(wanted, bool):
            return False
        if isinstance(value, numbers) and isinstance(wanted, numbers):
            return compare(value, wanted)
        return isinstance(value, str) and isinstance(wanted, str) and compare(value, wanted)

    return holds


def _equal(value: Json, wanted: Json) -> bool:
    if value is _MISSING:
        return wanted is None
    if isinstance(value, bool) != isinstance(wanted, bool):
        return False
    return bool(value == wanted) or (isinstance(value, list | tuple) and wanted in value)


def _matches(value: Json, pattern: Json) -> bool:
    values = value if isinstance(value, list | tuple) else (value,)
    return any(isinstance(each, str) and re.search(pattern, each) is not None for each in values)


_OPERATORS: Final[Mapping[str, Callable[[Json, Json], bool]]] = {
    "$eq": _equal,
    "$ne": lambda value, wanted: not _equal(value, wanted),
    "$gt": _ordered(lambda a, b: a > b),
    "$gte": _ordered(lambda a, b: a >= b),
    "$lt": _ordered(lambda a, b: a < b),
    "$lte": _ordered(lambda a, b: a <= b),
    "$in": lambda value, wanted: any(_equal(value, each) for each in wanted),
    "$nin": lambda value, wanted: not any(_equal(value, each) for each in wanted),
    "$exists": lambda value, wanted: (value is not _MISSING) == bool(wanted),
    "$regex": _matches,
}
_LISTS: Final = frozenset({"$in", "$nin"})
_COMBINED: Final = frozenset({"$and", "$or", "$nor"})


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was checked."""

    asked: Mapping[str, Json]

    @classmethod
    def of(cls, text: str | None) -> Self:
        """Read a filter; None takes everything.

        Raises:
            ConfigError: it is no JSON object, or asks for what is not known here.
        """
        try:
            asked = json.loads(text) if text else {}
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            raise ConfigError(
                f"the filter {text!r} is not a JSON object",
                side=Side.SOURCE,
                remedy='write for example {"state": "finished", "config.lr": {"$gt": 0.01}}',
            )
        _check(asked)
        return cls(asked)

    def takes(self, run: Run) -> bool:
        """Whether a run matches."""
        return _takes(self.asked, run)


def _check(asked: Json) -> None:
    if not isinstance(asked, dict):
        raise ConfigError(f"{asked!r} in a filter is not an object", side=Side.SOURCE)
    for name, wanted in asked.items():
        if name in _COMBINED:
            if not isinstance(wanted, list):
                raise ConfigError(f"{name} in a filter takes a list", side=Side.SOURCE)
            for each in wanted:
                _check(each)
        elif name == "$not":
            _check(wanted)
        elif name.startswith("$"):
            raise ConfigError(_unknown(name), side=Side.SOURCE, remedy=_KNOWN)
        else:
            field, _ = _path(name)
            _check_operators(wanted)
            if field in _TIMES:
                _moments(wanted)


def _check_operators(wanted: Json) -> None:
    if not _is_operators(wanted):
        return
    for operator, operand in wanted.items():
        if operator == "$not":
            _check_operators(operand)
        elif operator not in _OPERATORS:
            raise ConfigError(_unknown(operator), side=Side.SOURCE, remedy=_KNOWN)
        elif operator in _LISTS and not isinstance(operand, list):
            raise ConfigError(f"{operator} in a filter takes a list", side=Side.SOURCE)
        elif operator == "$regex":
            try:
                re.compile(operand)
            except (re.error, TypeError) as error:
                raise ConfigError(
                    f"{operand!r} is no regular expression: {error}", side=Side.SOURCE
                ) from error


def _unknown(operator: str) -> str:
    return f"a filter cannot use {operator!r} here"


_KNOWN: Final = f"known are {', '.join(sorted({*_OPERATORS, *_COMBINED, '$not'}))}"


def _is_operators(wanted: Json) -> bool:
    return isinstance(wanted, dict) and any(name.startswith("$") for name in wanted)


def _takes(asked: Mapping[str, Json], run: Run) -> bool:
    for name, wanted in asked.items():
        match name:
            case "$and":
                held = all(_takes(each, run) for each in wanted)
            case "$or":
                held = any(_takes(each, run) for each in wanted)
            case "$nor":
                held = not any(_takes(each, run) for each in wanted)
            case "$not":
                held = not _takes(wanted, run)
            case _:
                asked_for = _moments(wanted) if _path(name)[0] in _TIMES else wanted
                held = _holds(
                    _value(run, name), asked_for if _is_operators(asked_for) else {"$eq": asked_for}
                )
        if not held:
            return False
    return True


def _holds(value: Json, operators: Mapping[str, Json]) -> bool:
    return all(
        not _holds(value, operand if _is_operators(operand) else {"$eq": operand})
        if operator == "$not"
        else _OPERATORS[operator](value, operand)
        for operator, operand in operators.items()
    )


def _path(name: str) -> tuple[str, str]:
    """The field of a run and the path in it.

    Raises:
        ConfigError: a run has no such field.
    """
    head, _, rest = name.partition(".")
    if head in _MAPPINGS and rest:
        return _MAPPINGS[head], rest
    field = _FIELDS.get(name.replace("_", "").lower())
    if field is None:
        raise ConfigError(
            f"a filter cannot ask for {name!r}",
            side=Side.SOURCE,
            remedy=f"known are {', '.join(f'{each}.KEY' for each in _MAPPINGS)}, {', '.join(_FIELDS)}",
        )
    return field, ""


def _value(run: Run, name: str) -> Json:
    field, path = _path(name)
    if field == DURATION:
        end = run.ended_at or run.heartbeat_at
        return _MISSING if end is None or run.started_at is None else (end - run.started_at) / 1000
    value = getattr(run, field)
    if path:
        return _inside(value or {}, path)
    if value is None:
        return _MISSING
    return list(value) if isinstance(value, tuple) else value


def _moments(wanted: Json) -> Json:
    """Times in what is asked of one, in milliseconds as runs have them.

    Raises:
        ConfigError: a text is no time, or is to be matched.
    """
    if isinstance(wanted, Mapping):
        if "$regex" in wanted:
            raise ConfigError(
                "a time in a filter is compared, not matched", side=Side.SOURCE, remedy="use $gte and $lt"
            )
        return {name: each if name == "$exists" else _moments(each) for name, each in wanted.items()}
    if isinstance(wanted, list):
        return [_moments(each) for each in wanted]
    if not isinstance(wanted, str):
        return wanted
    try:
        moment = datetime.fromisoformat(wanted)
    except ValueError as error:
        raise ConfigError(
            f"{wanted!r} in a filter is no time",
            side=Side.SOURCE,
            remedy="write 2026-01-31T12:00:00Z",
            exc=error,
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000


def _inside(values: Json, path: str) -> Json:
    """What is at a path, whose keys may hold dots themselves; W&B's ``.value`` behind a key says nothing."""
    if not isinstance(values, Mapping):
        return _MISSING
    for name in (path, path.removesuffix(".value")):
        if name in values:
            return values[name]
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        head, rest = ".".join(parts[:cut]), ".".join(parts[cut:])
        if head in values and (found := _inside(values[head], rest)) is not _MISSING:
            return found
        if head in values and rest.startswith("value."):
            return _inside(values[head], rest.removeprefix("value."))
    return _MISSING
