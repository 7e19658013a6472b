"""The run table: one row a run, config and summary flattened by fixed rules, and as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from engine.archive.layout import dumps
from engine.records import Json, Run

TIMES: Final = frozenset({"started_at", "ended_at", "heartbeat_at"})

_PLAIN: Final[Mapping[str, type]] = {
    "id": str,
    "name": str,
    "state": str,
    "group": str,
    "job_type": str,
    "user": str,
    "host": str,
    "notes": str,
    "sweep": str,
    "parent_id": str,
    "exit_code": int,
    "started_at": int,
    "ended_at": int,
    "heartbeat_at": int,
    "url": str,
    "deleted": bool,
}
_CODE: Final = ("program", "commit", "remote")
_WHOLE: Final = ("config_json", "summary_json", "extra_json")

COLUMNS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("entity", "project"), str),
    **_PLAIN,
    **dict.fromkeys(("tags", *_CODE, *_WHOLE), str),
}
"""What every table has, whatever its runs have, and of what type its values are."""


def row_of(run: Run) -> dict[str, Json]:
    """One row of the table.

    ``config.KEY``, ``summary.KEY`` and ``labels.KEY`` hold single values, those of nested objects with dots
    between the keys; lists and empty objects are JSON. Two that come to the same name: the first has the
    column, and ``config_json``, ``summary_json`` and ``extra_json`` have everything.
    """
    row: dict[str, Json] = {"entity": run.namespace.entity, "project": run.namespace.project}
    for name in _PLAIN:
        value = getattr(run, name)
        if value is not None:
            row[name] = str(value) if name == "state" else value
    row["tags"] = dumps(list(run.tags))
    for name in _CODE:
        if (value := getattr(run.code, name)) is not None:
            row[name] = value
    for prefix, values in (("config", run.config), ("summary", run.summary or {}), ("labels", run.labels)):
        for key, value in flattened(values, prefix):
            row.setdefault(key, value)
    row["config_json"] = dumps(dict(run.config))
    row["summary_json"] = dumps(None if run.summary is None else dict(run.summary))
    row["extra_json"] = dumps(dict(run.extra))
    return row


def flattened(values: Mapping[str, Json], prefix: str) -> Iterator[tuple[str, Json]]:
    """The single values in nested objects, each with its path; a null says nothing and is left out."""
    for key, value in values.items():
        path = f"{prefix}.{key}"
        if isinstance(value, Mapping) and value:
            yield from flattened(value, path)
        elif value is not None:
            yield path, value
