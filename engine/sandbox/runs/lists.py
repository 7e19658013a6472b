"""Lists of runs: filters, order, pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from engine.sandbox.accounts import accounts
from engine.sandbox.context import Call
from engine.sandbox.database import Row
from engine.sandbox.graph.connections import Connection, connection
from engine.sandbox.graph.execution import resolver, snake
from engine.sandbox.graph.filters import MISSING, Filter, dotted
from engine.sandbox.json_text import loads, strict
from engine.sandbox.projects.projects import Project
from engine.sandbox.refusals import bad_request
from engine.sandbox.runs import runs
from engine.sandbox.runs.history import keys_of
from engine.sandbox.runs.runs import Run

DEFAULT_PAGE = 50

# Keys of filters and orders, in snake case, and the columns that they mean.
_COLUMNS = {
    "name": "name",
    "display_name": "display_name",
    "group": "run_group",
    "group_name": "run_group",
    "job_type": "job_type",
    "sweep": "sweep",
    "sweep_name": "sweep",
    "host": "host",
    "commit": "commit_hash",
    "notes": "notes",
    "description": "description",
    "created_at": "created",
    "heartbeat_at": "heartbeat",
    "updated_at": "updated",
}

_DERIVED: dict[str, tuple[frozenset[str], Callable[[Row], Any]]] = {
    "state": (frozenset({"state", "heartbeat"}), lambda row: runs.state_of(row["state"], row["heartbeat"])),
    "tags": (frozenset({"tags"}), lambda row: json.loads(row["tags"]) or None),
    "duration": (
        frozenset({"heartbeat", "created"}),
        lambda row: (row["heartbeat"] - row["created"]) // 1000,
    ),
}

_SECTIONS = {"config": "config", "summary_metrics": "summary", "summaryMetrics": "summary", "tags": "tags"}

_MOMENTS = frozenset({"createdAt", "created_at", "heartbeatAt", "heartbeat_at", "updatedAt", "updated_at"})


class _Document:
    """One run as filters and orders see it; config and summary are parsed once, and only if asked for."""

    __slots__ = ("_call", "_config", "_summary", "row")

    def __init__(self, call: Call, row: Row) -> None:
        self.row = row
        self._call = call
        self._config: Any = None
        self._summary: Any = None

    def __call__(self, path: str) -> Any:
        if column := _COLUMNS.get(snake(path)):
            value = self.row[column]
        elif derived := _DERIVED.get(path):
            value = derived[1](self.row)
        else:
            return self._elsewhere(path)
        return MISSING if value is None else value

    def _elsewhere(self, path: str) -> Any:
        section, _, rest = path.partition(".")
        if section == "config":
            return self._in_config(rest)
        if section in ("summary_metrics", "summaryMetrics"):
            if self._summary is None:
                self._summary = loads(self.row["summary"] or "{}")
            return dotted(self._summary, rest)
        if section == "tags":
            return rest in json.loads(self.row["tags"])
        if section == "keys_info":
            keys = keys_of(self._call.db, self.row["number"])
            return keys.get(path.removeprefix("keys_info.keys."), MISSING)
        return accounts.user_of_number(self._call.db, self.row["user"]).username

    def _in_config(self, path: str) -> Any:
        if self._config is None:
            self._config = loads(self.row["config"] or "{}")
        found = dotted(self._config, path)
        if found is MISSING or (isinstance(found, dict) and "value" in found and path in self._config):
            # The web application leaves out the `value` that each key of a config has.
            plain = {key: entry["value"] for key, entry in self._config.items() if _has_value(entry)}
            found = dotted(plain, path)
        return found


def _has_value(entry: Any) -> bool:
    return isinstance(entry, dict) and "value" in entry


def _columns_for(path: str) -> frozenset[str]:
    """The columns that answer a path.

    Raises:
        Refusal: 400, runs have nothing of this name.
    """
    if column := _COLUMNS.get(snake(path)):
        return frozenset({column})
    if derived := _DERIVED.get(path):
        return derived[0]
    section, _, rest = path.partition(".")
    if section == "keys_info" and rest.startswith("keys."):
        return frozenset()
    if rest and (column := _SECTIONS.get(section)):
        return frozenset({column})
    if path in ("username", "user"):
        return frozenset({"user"})
    raise bad_request(f"runs cannot be filtered or ordered by {path!r}")


def _order(text: str | None) -> list[tuple[str, bool]]:
    """Paths, and whether each descends."""
    parts = []
    for part in (text or "+created_at").split(","):
        direction, path = (part[0], part[1:]) if part[:1] in ("+", "-") else ("+", part)
        parts.append((path, direction == "-"))
    return parts


def _matching(
    call: Call,
    project: Project,
    filters: str | None,
    *,
    also: set[str] | None = None,
    sweep: str | None = None,
    deleted: bool = False,
) -> list[_Document]:
    wanted = Filter.parse(filters, moments=_MOMENTS)
    # Only the columns in question: of many runs, most are read just to be sorted.
    columns = frozenset({"number"}).union(*map(_columns_for, wanted.paths | (also or set())))
    found = runs.rows(call, project, ", ".join(sorted(columns)), sweep=sweep, deleted=deleted)
    documents = [_Document(call, row) for row in found]
    return [document for document in documents if wanted.matches(document)] if wanted.paths else documents


def select(call: Call, project: Project, filters: str | None, *, deleted: bool = False) -> list[Run]:
    """The runs of a project that match, in the order of creation."""
    found = _matching(call, project, filters, deleted=deleted)
    return runs.of_numbers(call, (document.row["number"] for document in found))


def run_connection(
    call: Call,
    project: Project,
    *,
    filters: str | None = None,
    order: str | None = None,
    sweep: str | None = None,
    first: int | None = None,
    **page: Any,
) -> Connection:
    """One page of the runs that match."""
    parts = _order(order)
    documents = _matching(call, project, filters, also={path for path, _ in parts}, sweep=sweep)

    def key(document: _Document) -> list[Any]:
        return [*(_sortable(document(path)) for path, _ in parts), document.row["number"]]

    descends = [down for _, down in parts]
    return connection(
        documents,
        key,
        descending=descends[0] if len(parts) == 1 else [*descends, descends[-1]],
        first=first if first is not None or page.get("last") is not None else DEFAULT_PAGE,
        node=lambda document: runs.of_number(call, document.row["number"]),
        **page,
    )


def _sortable(value: Any) -> Any:
    return None if value is MISSING else strict(value)


@resolver("Project.runs", "Project.buckets")
def project_runs(
    project: Project,
    call: Call,
    *,
    names: list[str] | None = None,
    filters: str | None = None,
    order: str | None = None,
    **rest: Any,
) -> Connection:
    page = {name: rest.pop(name) for name in ("first", "after", "last", "before") if name in rest}
    if asked := sorted(name for name, value in rest.items() if value is not None and name != "fields"):
        raise bad_request(f"the sandbox does not group runs: {', '.join(asked)}")
    if names is not None:
        filters = json.dumps({"$and": [loads(filters or "{}"), {"name": {"$in": names}}]})
    return run_connection(call, project, filters=filters, order=order, **page)


@resolver("Project.runCount")
def run_count(project: Project, call: Call, *, filters: str | None = None) -> int:
    if filters in (None, "", "{}"):
        return runs.count(call, project)
    return len(_matching(call, project, filters))


@resolver("Project.totalRuns", "Project.bucketCount")
def total_runs(project: Project, call: Call) -> int:
    return runs.count(call, project)


@resolver("RunConnection.totalCountApprox")
def total_count_approx(found: Connection, _call: Call) -> dict[str, int]:
    return {"min": found["totalCount"], "max": found["totalCount"]}
