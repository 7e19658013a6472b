"""Versions as seen inside a collection, and their aliases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.sandbox.artifacts import records
from engine.sandbox.artifacts.access import writable_artifact
from engine.sandbox.artifacts.records import Alias, Artifact, Collection, Membership
from engine.sandbox.artifacts.rules import check_alias
from engine.sandbox.context import Call
from engine.sandbox.graph.connections import Connection, connection
from engine.sandbox.graph.execution import resolver
from engine.sandbox.projects import projects
from engine.sandbox.projects.projects import Project
from engine.sandbox.refusals import not_found

# -- by name


@resolver("Project.artifactCollectionMembership")
def project_membership(project: Project, call: Call, *, name: str) -> Membership | None:
    return records.resolve_name(call.db, project.number, name)


@resolver("ArtifactSequence.artifactMembership", "ArtifactPortfolio.artifactMembership")
def collection_membership(collection: Collection, call: Call, *, alias_name: str) -> Membership | None:
    return records.find_membership(call.db, collection, alias_name)


# -- lists


@resolver("ArtifactSequence.artifactMemberships", "ArtifactPortfolio.artifactMemberships")
def collection_memberships(collection: Collection, call: Call, **page: Any) -> Connection:
    members = records.members_of(call.db, collection)
    return connection(members, lambda member: [member.version_index], descending=True, **page)


@resolver("Artifact.artifactMemberships")
def artifact_memberships(artifact: Artifact, call: Call, **page: Any) -> Connection:
    members = records.memberships_of(call.db, artifact)
    return connection(members, lambda member: [member.number], **page)


# -- ArtifactCollectionMembership


@resolver("ArtifactCollectionMembership.artifact")
def membership_artifact(membership: Membership, call: Call) -> Artifact:
    return records.artifact_by_number(call.db, membership.artifact)


@resolver("ArtifactCollectionMembership.artifactCollection")
def membership_collection(membership: Membership, call: Call) -> Collection:
    return records.collection_by_number(call.db, membership.collection)


@resolver("ArtifactCollectionMembership.aliases")
def membership_aliases(membership: Membership, call: Call) -> list[Alias]:
    return records.aliases_of(call.db, membership)


@resolver("ArtifactCollectionMembership.commitHash")
def membership_commit_hash(membership: Membership, call: Call) -> str:
    return records.artifact_by_number(call.db, membership.artifact).commit_hash


# -- aliases


@resolver("Artifact.aliases")
def artifact_aliases(
    artifact: Artifact, call: Call, *, artifact_collection_name: str | None = None
) -> list[Alias]:
    return [
        alias
        for membership in records.memberships_of(call.db, artifact)
        for alias in records.aliases_of(call.db, membership)
        if artifact_collection_name
        in (None, records.collection_by_number(call.db, membership.collection).name)
    ]


@resolver("ArtifactSequence.aliases", "ArtifactPortfolio.aliases")
def collection_aliases(collection: Collection, call: Call, **page: Any) -> Connection:
    rows = call.db.all("SELECT * FROM artifact_aliases WHERE collection = ?", (collection.number,))
    return connection([Alias(*row) for row in rows], lambda alias: [alias.alias], **page)


@resolver("ArtifactAlias.artifact")
def alias_artifact(alias: Alias, call: Call) -> Artifact:
    membership = records.membership_by_number(call.db, alias.membership)
    return records.artifact_by_number(call.db, membership.artifact)


@resolver("ArtifactAlias.artifactCollection")
def alias_collection(alias: Alias, call: Call) -> Collection:
    return records.collection_by_number(call.db, alias.collection)


@resolver("ArtifactAlias.artifactCollectionName")
def alias_collection_name(alias: Alias, call: Call) -> str:
    return alias_collection(alias, call).name


@resolver("Mutation.addAliases")
def add_aliases(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    artifact = writable_artifact(call, given["artifactID"])
    for wanted in given["aliases"]:
        check_alias(wanted["alias"])
        records.move_alias(call.db, _named_membership(call, artifact, wanted), wanted["alias"])
    return {
        "clientMutationId": given.get("clientMutationId"),
        "aliases": given["aliases"],
        "artifact": artifact,
        "success": True,
    }


@resolver("Mutation.deleteAliases")
def delete_aliases(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    artifact = writable_artifact(call, given["artifactID"])
    for wanted in given["aliases"]:
        membership = _named_membership(call, artifact, wanted)
        call.db.execute(
            "DELETE FROM artifact_aliases WHERE membership = ? AND alias = ?",
            (membership.number, wanted["alias"]),
        )
    return {"clientMutationId": given.get("clientMutationId"), "success": True}


def _named_membership(call: Call, artifact: Artifact, wanted: Mapping[str, Any]) -> Membership:
    project = projects.writable(call, wanted["entityName"], wanted["projectName"])
    collection = records.find_collection(call.db, project.number, wanted["artifactCollectionName"])
    membership = records.membership_in(call.db, artifact, collection.number) if collection else None
    if membership is None:
        raise not_found(f"the artifact is not in collection {wanted['artifactCollectionName']}")
    return membership
