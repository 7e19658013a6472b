"""Lists of collections and of versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.sandbox.artifacts import records
from engine.sandbox.artifacts.records import PORTFOLIO, SEQUENCE, Artifact, ArtifactType, Collection
from engine.sandbox.artifacts.tags import tags_of
from engine.sandbox.context import Call
from engine.sandbox.graph.connections import Connection
from engine.sandbox.graph.execution import resolver
from engine.sandbox.graph.listing import Fields, listed
from engine.sandbox.json_text import loads
from engine.sandbox.projects.projects import Project

COLLECTION_FIELDS: Fields[Collection] = {
    "id": lambda _call, row: [row.number, row.id],
    "collection_id": lambda _call, row: [row.number, row.id],
    "artifact_collection_id": lambda _call, row: [row.number, row.id],
    "number": lambda _call, row: row.number,
    "name": lambda _call, row: row.name,
    "description": lambda _call, row: row.description,
    "state": lambda _call, row: row.state,
    "type": lambda call, row: records.type_by_number(call.db, row.type).name,
    "tag": lambda call, row: [tag.name for tag in tags_of(call.db, row)],
    "tags": lambda call, row: [tag.name for tag in tags_of(call.db, row)],
    "created_at": lambda _call, row: row.created_ms,
    "updated_at": lambda _call, row: row.updated_ms,
}


def _aliases(call: Call, artifact: Artifact) -> list[str]:
    return [
        alias.alias
        for membership in records.memberships_of(call.db, artifact)
        for alias in records.aliases_of(call.db, membership)
    ]


def _own_index(call: Call, artifact: Artifact) -> int | None:
    membership = records.membership_in(call.db, artifact, artifact.sequence)
    return membership.version_index if membership else None


ARTIFACT_FIELDS: Fields[Artifact] = {
    "id": lambda _call, row: row.id,
    "number": lambda _call, row: row.number,
    "state": lambda _call, row: row.state,
    "digest": lambda _call, row: row.digest,
    "description": lambda _call, row: row.description,
    "metadata": lambda _call, row: loads(row.metadata or "{}"),
    "size": lambda _call, row: row.size,
    "file_count": lambda _call, row: row.file_count,
    "history_step": lambda _call, row: row.history_step,
    "version_index": _own_index,
    "alias": _aliases,
    "aliases": _aliases,
    "tag": lambda call, row: [tag.name for tag in tags_of(call.db, row)],
    "tags": lambda call, row: [tag.name for tag in tags_of(call.db, row)],
    "created_at": lambda _call, row: row.created_ms,
    "updated_at": lambda _call, row: row.updated_ms,
}


# -- collections


def _collections(
    call: Call, project: int, kinds: Sequence[str] | None, type_number: int | None
) -> list[Collection]:
    found = records.collections_of(call.db, project, type_number)
    return [collection for collection in found if collection.kind in (kinds or (SEQUENCE, PORTFOLIO))]


@resolver("Project.artifactCollections")
def project_collections(
    project: Project, call: Call, *, collection_types: list[str] | None = None, **rest: Any
) -> Connection:
    return listed(call, _collections(call, project.number, collection_types, None), COLLECTION_FIELDS, **rest)


@resolver("ArtifactType.artifactCollections")
def type_collections(
    kind: ArtifactType, call: Call, *, collection_types: list[str] | None = None, **rest: Any
) -> Connection:
    rows = _collections(call, kind.project, collection_types, kind.number)
    return listed(call, rows, COLLECTION_FIELDS, **rest)


@resolver("ArtifactType.artifactSequences")
def type_sequences(kind: ArtifactType, call: Call, **rest: Any) -> Connection:
    return listed(call, _collections(call, kind.project, [SEQUENCE], kind.number), COLLECTION_FIELDS, **rest)


@resolver("Artifact.artifactCollections")
def artifact_collections(artifact: Artifact, call: Call, **page: Any) -> Connection:
    rows = [
        records.collection_by_number(call.db, membership.collection)
        for membership in records.memberships_of(call.db, artifact)
    ]
    return listed(call, rows, COLLECTION_FIELDS, default="+number", **page)


# -- versions


@resolver("ArtifactSequence.artifacts", "ArtifactPortfolio.artifacts")
def collection_artifacts(collection: Collection, call: Call, **rest: Any) -> Connection:
    members = records.members_of(call.db, collection)
    index = {member.artifact: member.version_index for member in members}
    rows = [records.artifact_by_number(call.db, member.artifact) for member in members]
    fields = {**ARTIFACT_FIELDS, "version_index": lambda _call, row: index[row.number]}
    return listed(
        call,
        rows,
        fields,
        default="-versionIndex",
        edge=lambda row: {"version": f"v{index[row.number]}"},
        **rest,
    )
