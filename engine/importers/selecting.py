"""What a caller selects, in the words of W&B's importers, as the engine says it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeAlias

from engine.errors import ConfigError
from engine.records import Json, Namespace
from engine.transfer.options import Options
from engine.wandb.jsontext import encode_json

Remapping: TypeAlias = Mapping[Namespace, Namespace]


def targets_of(namespaces: Iterable[Namespace], remapping: Remapping) -> Remapping:
    """Where each of the projects goes: where it is unless the caller says otherwise.

    Raises:
        ConfigError: one has no entity or no project.
    """
    targets = {namespace: remapping.get(namespace, namespace) for namespace in namespaces}
    for namespace in (*targets, *targets.values()):
        if not (namespace.entity and namespace.project):
            raise ConfigError(f"the namespace {namespace} needs an entity and a project")
    return targets


def of_projects(options: Options, sources: Sequence[Namespace], targets: Remapping) -> Options:
    """The options of a transfer of these projects of one entity."""
    return replace(
        options,
        selection=replace(options.selection, projects=tuple(source.project for source in sources)),
        remap={**options.remap, **{source.path: targets[source].path for source in sources}},
    )


def run_filter(
    ids: Collection[str] | None, skip_ids: Collection[str] | None, filters: Mapping[str, Json] | None
) -> str | None:
    """All of it as one filter; None if there is nothing to filter."""
    parts: list[Json] = [dict(filters)] if filters else []
    if ids is not None:
        parts.append({"name": {"$in": list(ids)}})
    if skip_ids:
        parts.append({"name": {"$nin": list(skip_ids)}})
    return encode_json({"$and": parts}) if parts else None


def milliseconds(date: str | datetime) -> int:
    """Milliseconds since the Unix epoch.

    Raises:
        ConfigError: it is no date.
    """
    try:
        moment = datetime.fromisoformat(date) if isinstance(date, str) else date
    except ValueError as error:
        raise ConfigError(f"start_date {date!r} is no date", remedy="write 2026-01-31", exc=error) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
