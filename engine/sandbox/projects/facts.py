"""What a project, an entity or a user tells about runs taken together."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from engine.sandbox import clock
from engine.sandbox.accounts.accounts import Entity, User
from engine.sandbox.context import Call
from engine.sandbox.graph.connections import Connection, connection
from engine.sandbox.graph.execution import resolver
from engine.sandbox.json_text import loads
from engine.sandbox.projects import projects
from engine.sandbox.projects.projects import Project
from engine.sandbox.runs import runs
from engine.sandbox.runs.files import all_of
from engine.sandbox.runs.lists import select
from engine.sandbox.runs.runs import Run

_COLORS = 16
_TYPES = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "map"}


@resolver("Project.lastActive")
def last_active(project: Project, call: Call) -> str | None:
    newest = call.db.value(
        "SELECT max(heartbeat) FROM runs WHERE project = ? AND deleted IS NULL", (project.number,)
    )
    return None if newest is None else clock.to_wire(newest)


@resolver("Project.storageBytes")
def storage_bytes(project: Project, call: Call) -> int:
    """Bytes of the files of runs; artifacts share blobs and are not counted."""
    return sum(file.size_bytes for run in select(call, project, None) for file in all_of(call, run))


@resolver("Project.tagCounts")
def tag_counts(project: Project, call: Call, *, filters: str | None = None) -> list[dict[str, Any]]:
    counts = Counter(tag for run in select(call, project, filters) for tag in run.tags)
    return [{"name": name, "count": count} for name, count in sorted(counts.items())]


@resolver("Project.tags")
def tags(project: Project, call: Call) -> list[dict[str, Any]]:
    names = sorted({tag for run in select(call, project, None) for tag in run.tags})
    return [{"name": name, "colorIndex": i % _COLORS} for i, name in enumerate(names)]


@resolver("Project.fields")
def fields(
    project: Project,
    call: Call,
    *,
    columns: list[str] | None = None,
    pattern: str | None = None,
    types: list[str] | None = None,
    **page: Any,
) -> Connection:
    """The keys of configs and summaries, as paths of filters, with the types of their values."""
    found: set[tuple[str, str]] = set()
    for listed in runs.in_project(call, project, bulk=True):
        for key, entry in loads(listed.config or "{}").items():
            if key != "_wandb" and isinstance(entry, dict) and "value" in entry:
                found.add((f"config.{key}.value", _type_of(entry["value"])))
        for key, value in loads(listed.summary or "{}").items():
            found.add((f"summary_metrics.{key}", _type_of(value)))
    like = re.compile(pattern) if pattern else None
    wanted = [
        {"path": path, "type": kind}
        for path, kind in found
        if (columns is None or path.partition(".")[0] in columns)
        and (types is None or kind in types)
        and (like is None or like.search(path))
    ]
    return connection(wanted, lambda field: [field["path"], field["type"]], **page)


def _type_of(value: Any) -> str:
    return _TYPES.get(type(value), "nil")


@resolver("Entity.runs")
def entity_runs(entity: Entity, call: Call, *, order: str | None = None, **page: Any) -> Connection:
    found = [run for project in projects.visible(call, entity.name) for run in select(call, project, None)]
    return _by_creation(found, order, page)


@resolver("User.runs")
def user_runs(user: User, call: Call, *, order: str | None = None, **page: Any) -> Connection:
    found = [run for project in projects.visible(call) for run in select(call, project, None)]
    return _by_creation([run for run in found if run.user_number == user.number], order, page)


def _by_creation(found: list[Run], order: str | None, page: dict[str, Any]) -> Connection:
    descending = not (order or "").startswith("+")
    return connection(found, lambda run: [run.created_ms, run.number], descending=descending, **page)
