"""Artifact types and collections: listed, created, renamed, moved, deleted."""

from __future__ import annotations

from typing import Any

from engine.sandbox import clock
from engine.sandbox.artifacts import records
from engine.sandbox.artifacts.access import readable_collection, writable_collection
from engine.sandbox.artifacts.deletion import delete_version
from engine.sandbox.artifacts.records import PORTFOLIO, SEQUENCE, Artifact, ArtifactType, Collection
from engine.sandbox.artifacts.rules import check_collection_name, check_type
from engine.sandbox.context import Call
from engine.sandbox.graph.connections import Connection, connection
from engine.sandbox.graph.execution import resolver
from engine.sandbox.graph.ids import decode
from engine.sandbox.projects import projects
from engine.sandbox.projects.projects import Project
from engine.sandbox.refusals import bad_request, conflict, not_found

# -- types


def ensure_type(call: Call, project: Project, name: str, description: str | None = None) -> ArtifactType:
    """The type of this name, created if it is missing.

    Raises:
        Refusal: 400, the name is illegal.
    """
    known = records.find_type(call.db, project.number, name)
    if known is not None:
        return known
    check_type(name)
    number = call.db.insert(
        "INSERT INTO artifact_types (project, name, description, created_ms) VALUES (?, ?, ?, ?)",
        (project.number, name, description, clock.now_ms()),
    )
    return records.type_by_number(call.db, number)


@resolver("Project.artifactType")
def artifact_type(project: Project, call: Call, *, name: str) -> ArtifactType | None:
    return records.find_type(call.db, project.number, name)


@resolver("Project.artifactTypes")
def artifact_types(
    project: Project,
    call: Call,
    *,
    include_all: bool | None = None,  # noqa: ARG001
    **page: Any,
) -> Connection:
    rows = call.db.all("SELECT * FROM artifact_types WHERE project = ?", (project.number,))
    return connection([ArtifactType(*row) for row in rows], lambda kind: [kind.name], **page)


@resolver("ArtifactType.project")
def type_project(kind: ArtifactType, call: Call) -> Project:
    return projects.of_number(call, kind.project)


@resolver("Mutation.createArtifactType")
def create_artifact_type(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    project = projects.ensure(call, given["entityName"], given["projectName"])
    if records.find_type(call.db, project.number, given["name"]) is not None:
        raise conflict(f"artifact type {given['name']} already exists")
    created = ensure_type(call, project, given["name"], given.get("description"))
    return {"clientMutationId": given.get("clientMutationId"), "artifactType": created}


# -- one collection


@resolver("Query.artifactCollection")
def query_collection(_root: None, call: Call, *, id: str) -> Collection | None:  # noqa: A002
    return readable_collection(call, id)


@resolver("Query.artifactSequence")
def query_sequence(_root: None, call: Call, *, id: str) -> Collection | None:  # noqa: A002
    found = readable_collection(call, id)
    return found if found and found.kind == SEQUENCE else None


@resolver("Project.artifactCollection")
def project_collection(project: Project, call: Call, *, name: str) -> Collection | None:
    return records.find_collection(call.db, project.number, name)


@resolver("ArtifactType.artifactCollection")
def type_collection(kind: ArtifactType, call: Call, *, name: str) -> Collection | None:
    found = records.find_collection(call.db, kind.project, name)
    return found if found and found.type == kind.number else None


@resolver("ArtifactType.artifactSequence")
def type_sequence(kind: ArtifactType, call: Call, *, name: str) -> Collection | None:
    found = type_collection(kind, call, name=name)
    return found if found and found.kind == SEQUENCE else None


@resolver("ArtifactSequence.project", "ArtifactPortfolio.project")
def collection_project(collection: Collection, call: Call) -> Project:
    return projects.of_number(call, collection.project)


@resolver("ArtifactSequence.defaultArtifactType", "ArtifactPortfolio.defaultArtifactType")
def collection_type(collection: Collection, call: Call) -> ArtifactType:
    return records.type_by_number(call.db, collection.type)


@resolver("ArtifactSequence.digestAlgorithm")
def collection_digest_algorithm(_collection: Collection, _call: Call) -> str:
    return "MANIFEST_MD5"


@resolver("ArtifactSequence.latestArtifact")
def latest_artifact(collection: Collection, call: Call) -> Artifact | None:
    member = records.latest_member(call.db, collection)
    return records.artifact_by_number(call.db, member.artifact) if member else None


@resolver("ArtifactSequence.triggers", "ArtifactPortfolio.triggers")
def collection_triggers(_collection: Collection, _call: Call, **page: Any) -> Connection:
    """The sandbox has no automations."""
    return connection([], lambda _trigger: [], **page)


# -- changes


def create_collection(
    call: Call, project: Project, kind: str, artifact_type: ArtifactType, name: str, description: str | None
) -> Collection:
    """A new collection.

    Raises:
        Refusal: 400 for an illegal name, 409 if the name is in use.
    """
    check_collection_name(name)
    if records.find_collection(call.db, project.number, name) is not None:
        raise conflict(f"artifact collection {name} already exists")
    now = clock.now_ms()
    number = call.db.insert(
        "INSERT INTO artifact_collections (project, type, kind, name, description, created_ms, updated_ms) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (project.number, artifact_type.number, kind, name, description, now, now),
    )
    return records.collection_by_number(call.db, number)


def _create(call: Call, given: dict[str, Any], kind: str) -> dict[str, Any]:
    project = projects.ensure(call, given["entityName"], given["projectName"])
    artifact_type = records.type_by_number(call.db, decode("ArtifactType", given["artifactTypeID"]))
    if artifact_type.project != project.number:
        raise bad_request(f"artifact type {artifact_type.name} belongs to another project")
    made = create_collection(call, project, kind, artifact_type, given["name"], given.get("description"))
    return {"clientMutationId": given.get("clientMutationId"), "artifactCollection": made}


@resolver("Mutation.createArtifactSequence")
def create_sequence(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    return _create(call, given, SEQUENCE)


@resolver("Mutation.createArtifactPortfolio")
def create_portfolio(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    return _create(call, given, PORTFOLIO)


def _update(call: Call, given: dict[str, Any], collection: Collection) -> dict[str, Any]:
    name = given.get("name")
    if name is not None and name != collection.name:
        check_collection_name(name)
        if records.find_collection(call.db, collection.project, name) is not None:
            raise conflict(f"artifact collection {name} already exists")
    call.db.execute(
        "UPDATE artifact_collections SET name = coalesce(?, name), description = coalesce(?, description), "
        "updated_ms = ? WHERE number = ?",
        (name, given.get("description"), clock.now_ms(), collection.number),
    )
    return _changed(call, given, collection)


@resolver("Mutation.updateArtifactSequence")
def update_sequence(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    return _update(call, given, writable_collection(call, given["artifactSequenceID"], SEQUENCE))


@resolver("Mutation.updateArtifactPortfolio")
def update_portfolio(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    return _update(call, given, writable_collection(call, given["artifactPortfolioID"], PORTFOLIO))


@resolver("Mutation.moveArtifactSequence")
def move_sequence(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    collection = writable_collection(call, given["artifactSequenceID"], SEQUENCE)
    destination = records.find_type(call.db, collection.project, given["destinationArtifactTypeName"])
    if destination is None:
        raise not_found(f"artifact type {given['destinationArtifactTypeName']} not found")
    call.db.execute(
        "UPDATE artifact_collections SET type = ?, updated_ms = ? WHERE number = ?",
        (destination.number, clock.now_ms(), collection.number),
    )
    return _changed(call, given, collection)


@resolver("Mutation.deleteArtifactSequence")
def delete_sequence(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    collection = writable_collection(call, given["artifactSequenceID"], SEQUENCE)
    versions = call.db.all(
        "SELECT * FROM artifacts WHERE sequence = ? AND state <> 'DELETED'", (collection.number,)
    )
    for row in versions:
        delete_version(call.db, call.objects, Artifact(*row))
    return _delete(call, given, collection)


@resolver("Mutation.deleteArtifactPortfolio")
def delete_portfolio(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    collection = writable_collection(call, given["artifactPortfolioID"], PORTFOLIO)
    call.db.execute("DELETE FROM artifact_memberships WHERE collection = ?", (collection.number,))
    return _delete(call, given, collection)


def _delete(call: Call, given: dict[str, Any], collection: Collection) -> dict[str, Any]:
    call.db.execute(
        "UPDATE artifact_collections SET state = 'DELETED', updated_ms = ? WHERE number = ?",
        (clock.now_ms(), collection.number),
    )
    return _changed(call, given, collection)


def _changed(call: Call, given: dict[str, Any], collection: Collection) -> dict[str, Any]:
    now = records.collection_by_number(call.db, collection.number)
    return {"clientMutationId": given.get("clientMutationId"), "artifactCollection": now}
