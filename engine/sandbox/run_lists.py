"""Lists of runs: filters, order, pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from engine.sandbox import accounts, runs
from engine.sandbox.connections import Connection, connection
from engine.sandbox.context import Call
from engine.sandbox.filters import MISSING, Filter, dotted
from engine.sandbox.graphql import resolver, snake
from engine.sandbox.history import keys_of
from engine.sandbox.json_text import loads, strict
from engine.sandbox.projects import Project
from engine.sandbox.refusals import bad_request
from engine.sandbox.runs import Listed, Run

DEFAULT_PAGE = 50

_COLUMNS: dict[str, Callable[[Run], Any]] = {
    "name": lambda run: run.name,
    "display_name": lambda run: run.display_name,
    "state": lambda run: run.state,
    "group": lambda run: run.group,
    "group_name": lambda run: run.group,
    "job_type": lambda run: run.job_type,
    "tags": lambda run: run.tags or None,
    "sweep": lambda run: run.sweep_name,
    "sweep_name": lambda run: run.sweep_name,
    "host": lambda run: run.host,
    "commit": lambda run: run.commit,
    "notes": lambda run: run.notes,
    "description": lambda run: run.description,
    "created_at": lambda run: run.created,
    "heartbeat_at": lambda run: run.heartbeat,
    "updated_at": lambda run: run.updated,
    "duration": lambda run: (run.heartbeat - run.created) // 1000,
}

_MOMENTS = frozenset({"createdAt", "created_at", "heartbeatAt", "heartbeat_at", "updatedAt", "updated_at"})


class _Document:
    """One run as filters and orders see it; config and summary are parsed once, and only if asked for."""

    __slots__ = ("_call", "_config", "_summary", "listed")

    def __init__(self, call: Call, listed: Listed) -> None:
        self.listed = listed
        self._call = call
        self._config: Any = None
        self._summary: Any = None

    def __call__(self, path: str) -> Any:
        run = self.listed.run
        section, _, rest = path.partition(".")
        if section == "config" and rest:
            return self._in_config(rest)
        if section in ("summary_metrics", "summaryMetrics") and rest:
            if self._summary is None:
                self._summary = loads(self.listed.summary or "{}")
            return dotted(self._summary, rest)
        if path.startswith("keys_info.keys."):
            return keys_of(self._call.db, run.number).get(path.removeprefix("keys_info.keys."), MISSING)
        if section == "tags" and rest:
            return rest in run.tags
        if path in ("username", "user"):
            return accounts.user_of_number(self._call.db, run.user_number).username
        value = _COLUMNS[snake(path)](run)
        return MISSING if value is None else value

    def _in_config(self, path: str) -> Any:
        if self._config is None:
            self._config = loads(self.listed.config or "{}")
        found = dotted(self._config, path)
        if found is MISSING or (isinstance(found, dict) and "value" in found and path in self._config):
            # The web application leaves out the `value` that each key of a config has.
            plain = {key: entry["value"] for key, entry in self._config.items() if _has_value(entry)}
            found = dotted(plain, path)
        return found


def _has_value(entry: Any) -> bool:
    return isinstance(entry, dict) and "value" in entry


def _check(path: str) -> None:
    section, _, rest = path.partition(".")
    in_bulk = section in ("config", "summary_metrics", "summaryMetrics", "tags") and bool(rest)
    elsewhere = in_bulk or path.startswith("keys_info.keys.") or path in ("username", "user")
    if not elsewhere and snake(path) not in _COLUMNS:
        raise bad_request(f"runs cannot be filtered or ordered by {path!r}")


def _needs_bulk(paths: set[str]) -> bool:
    return any(path.startswith(("config.", "summary_metrics.", "summaryMetrics.")) for path in paths)


def _order(text: str | None) -> list[tuple[str, bool]]:
    """Paths, and whether each descends."""
    parts = []
    for part in (text or "+created_at").split(","):
        direction, path = (part[0], part[1:]) if part[:1] in ("+", "-") else ("+", part)
        _check(path)
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
    for path in wanted.paths:
        _check(path)
    bulk = _needs_bulk(wanted.paths | (also or set()))
    documents = [
        _Document(call, listed)
        for listed in runs.in_project(call, project, sweep=sweep, bulk=bulk, deleted=deleted)
    ]
    return [document for document in documents if wanted.matches(document)] if wanted.paths else documents


def select(call: Call, project: Project, filters: str | None, *, deleted: bool = False) -> list[Run]:
    """The runs of a project that match, in the order of creation."""
    return [document.listed.run for document in _matching(call, project, filters, deleted=deleted)]


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
        return [*(_sortable(document(path)) for path, _ in parts), document.listed.run.number]

    descends = [down for _, down in parts]
    return connection(
        documents,
        key,
        descending=descends[0] if len(parts) == 1 else [*descends, descends[-1]],
        first=first if first is not None or page.get("last") is not None else DEFAULT_PAGE,
        node=lambda document: document.listed.run,
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
    return len(_matching(call, project, filters))


@resolver("Project.totalRuns", "Project.bucketCount")
def total_runs(project: Project, call: Call) -> int:
    count = call.db.value(
        "SELECT count(*) FROM runs WHERE project = ? AND deleted IS NULL", (project.number,)
    )
    assert isinstance(count, int)
    return count


@resolver("RunConnection.totalCountApprox")
def total_count_approx(found: Connection, _call: Call) -> dict[str, int]:
    return {"min": found["totalCount"], "max": found["totalCount"]}
