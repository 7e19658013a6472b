"""Collections of a project as the official SDK reads them. Nothing of the engine is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import wandb
from wandb.sdk.artifacts.artifact_instance_cache import artifact_instance_cache

Json = Any


@dataclass(frozen=True)
class SeenVersion:
    """One version; runs by their ids."""

    number: str
    digest: str
    description: str | None
    metadata: dict[str, Json]
    aliases: tuple[str, ...]
    tags: tuple[str, ...]
    ttl: str
    step: int | None
    entries: dict[str, tuple[str, str | None, int | None]]
    made_by: str | None
    used_by: tuple[str, ...]


@dataclass(frozen=True)
class SeenCollection:
    type: str
    description: str | None
    tags: tuple[str, ...]
    versions: tuple[SeenVersion, ...]


def seen(api: wandb.Api, project: str) -> dict[str, SeenCollection]:
    """All collections of a project by name."""
    return {
        collection.name: _collection(collection)
        for kind in api.artifact_types(project)
        for collection in kind.collections()
        if collection.is_sequence()
    }


def _collection(collection: Any) -> SeenCollection:
    versions = sorted(collection.artifacts(), key=lambda one: int(one.version[1:]))
    return SeenCollection(
        type=collection.type,
        description=collection.description,
        tags=tuple(sorted(collection.tags)),
        versions=tuple(map(_version, versions)),
    )


def _version(artifact: Any) -> SeenVersion:
    return SeenVersion(
        number=artifact.version,
        digest=artifact.digest,
        description=artifact.description or None,
        metadata=dict(artifact.metadata),
        aliases=tuple(sorted(artifact.aliases)),
        tags=tuple(sorted(artifact.tags)),
        ttl=str(artifact.ttl),
        step=artifact.history_step,
        entries={
            path: (entry.digest, _ref(artifact, entry), entry.size)
            for path, entry in artifact.manifest.entries.items()
        },
        made_by=_maker(artifact),
        used_by=tuple(sorted(run.id for run in artifact.used_by())),
    )


def _ref(parent: Any, entry: Any) -> str | None:
    """What an entry refers to; a file of another version by its name, as ids differ between servers."""
    if entry.ref is None or not entry.ref.startswith("wandb-artifact://"):
        return None if entry.ref is None else str(entry.ref)
    # The SDK keeps artifacts by their ids, which are not those of one server only.
    artifact_instance_cache.clear()
    target = parent._referenced_artifact_from_id(entry._referenced_artifact_id())
    path = entry.ref.removeprefix("wandb-artifact://").partition("/")[2]
    return f"{target.project}/{target.name}/{path}"


def _maker(artifact: Any) -> str | None:
    """None if the run is gone, which the SDK tells by an error."""
    try:
        run = artifact.logged_by()
    except Exception as error:
        if "could not find run" not in str(error):
            raise
        return None
    return None if run is None else str(run.id)
