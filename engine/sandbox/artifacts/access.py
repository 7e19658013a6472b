"""Which artifacts and collections a caller may see and change.

What belongs to an entity is seen and changed by its members. A version that is linked elsewhere can be
seen there, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from engine.sandbox.accounts import entity_access
from engine.sandbox.artifacts import records
from engine.sandbox.artifacts.records import Artifact, Collection
from engine.sandbox.context import Call
from engine.sandbox.database import Database
from engine.sandbox.projects import projects
from engine.sandbox.refusals import Refusal

T = TypeVar("T")


def sequence_of(call: Call, artifact: Artifact) -> Collection:
    """The collection that owns a version."""
    return records.collection_by_number(call.db, artifact.sequence)


def may_read_project(call: Call, number: int) -> bool:
    """Whether the caller may see what is in a project."""
    return entity_access.readable_entity(call, projects.of_number(call, number).entity_name) is not None


def may_read(call: Call, artifact: Artifact) -> bool:
    """Whether the caller may see a version, in its sequence or where it is linked."""
    collections = {artifact.sequence, *(m.collection for m in records.memberships_of(call.db, artifact))}
    owners = {records.collection_by_number(call.db, number).project for number in collections}
    return any(may_read_project(call, project) for project in owners)


def readable_artifact(call: Call, artifact_id: str) -> Artifact | None:
    """The version of this id; None if there is none, or none that the caller may see."""
    artifact = _unless_missing(records.artifact_by_id, call.db, artifact_id)
    return artifact if artifact is not None and may_read(call, artifact) else None


def writable_artifact(call: Call, artifact_id: str) -> Artifact:
    """The version of this id, for a change.

    Raises:
        Refusal: 404 or 403.
    """
    artifact = records.artifact_by_id(call.db, artifact_id)
    projects.require_member(call, sequence_of(call, artifact).project)
    return artifact


def readable_collection(call: Call, collection_id: str) -> Collection | None:
    """The collection of this id; None if there is none, or none that the caller may see."""
    collection = _unless_missing(records.collection_by_id, call.db, collection_id)
    return collection if collection is not None and may_read_project(call, collection.project) else None


def writable_collection(call: Call, collection_id: str, kind: str) -> Collection:
    """The collection of this id and kind, for a change.

    Raises:
        Refusal: 404 or 403.
    """
    collection = records.collection_by_id(call.db, collection_id)
    if collection.kind != kind:
        raise Refusal(404, f"{collection.name!r} is a {collection.kind.lower()}, not a {kind.lower()}")
    projects.require_member(call, collection.project)
    return collection


def _unless_missing(find: Callable[[Database, str], T], db: Database, id_: str) -> T | None:
    try:
        return find(db, id_)
    except Refusal as refusal:
        if refusal.status != 404:
            raise
        return None
