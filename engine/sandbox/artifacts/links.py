"""Links: versions of one project as members of portfolios, in registries above all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.sandbox import clock
from engine.sandbox.artifacts import records, registry
from engine.sandbox.artifacts.access import readable_artifact, sequence_of, writable_collection
from engine.sandbox.artifacts.collections import create_collection, ensure_type
from engine.sandbox.artifacts.records import PORTFOLIO, Artifact, Collection, Membership
from engine.sandbox.artifacts.rules import check_alias
from engine.sandbox.context import Call
from engine.sandbox.graph.execution import resolver
from engine.sandbox.projects import projects
from engine.sandbox.projects.projects import Project
from engine.sandbox.refusals import bad_request, not_found


@resolver("Mutation.linkArtifact")
def link_artifact(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    artifact = _linked(call, given)
    portfolio = _portfolio(call, artifact, given)
    membership = _linked_again(call, artifact, portfolio) or records.add_member(call.db, portfolio, artifact)
    wanted = [alias["alias"] for alias in given.get("aliases") or []]
    for alias in wanted:
        check_alias(alias)
    for alias in ("latest", *wanted):
        records.move_alias(call.db, membership, alias)
    project = projects.of_number(call, portfolio.project)
    return {
        "clientMutationId": given.get("clientMutationId"),
        "aliases": [
            {
                "alias": alias.alias,
                "artifactCollectionName": portfolio.name,
                "entityName": project.entity_name,
                "projectName": project.name,
            }
            for alias in records.aliases_of(call.db, membership)
        ],
        "artifactCollectionID": portfolio.id,
        "artifactID": artifact.id,
        "artifactMembership": membership,
        "createdAt": clock.to_wire(membership.created_ms),
        "versionIndex": membership.version_index,
    }


@resolver("Mutation.unlinkArtifact")
def unlink_artifact(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    portfolio = writable_collection(call, given["artifactPortfolioID"], PORTFOLIO)
    artifact = records.artifact_by_id(call.db, given["artifactID"])
    gone = call.db.execute(
        "DELETE FROM artifact_memberships WHERE collection = ? AND artifact = ?",
        (portfolio.number, artifact.number),
    )
    if not gone:
        raise not_found(f"the artifact is not linked to {portfolio.name}")
    return {"clientMutationId": given.get("clientMutationId"), "artifactID": artifact.id, "success": True}


def _linked_again(call: Call, artifact: Artifact, portfolio: Collection) -> Membership | None:
    """The link of a version that was linked before, which stays as it is; what W&B does is not known."""
    return records.membership_in(call.db, artifact, portfolio.number)


def _linked(call: Call, given: Mapping[str, Any]) -> Artifact:
    artifact_id, client_id = given.get("artifactID"), given.get("clientID")
    if not artifact_id and client_id:
        row = call.db.one(
            "SELECT number FROM client_ids WHERE client_id = ? AND kind = 'Artifact'", (client_id,)
        )
        artifact_id = row and records.artifact_by_number(call.db, row["number"]).id
    artifact = readable_artifact(call, artifact_id) if artifact_id else None
    if artifact is None:
        raise not_found("the artifact to link does not exist")
    if artifact.state != "COMMITTED":
        raise bad_request("only a committed artifact can be linked")
    return artifact


def _portfolio(call: Call, artifact: Artifact, given: Mapping[str, Any]) -> Collection:
    if given.get("artifactPortfolioID"):
        return writable_collection(call, given["artifactPortfolioID"], PORTFOLIO)
    name = given.get("artifactPortfolioName")
    if not name:
        raise bad_request("linkArtifact needs artifactPortfolioName or artifactPortfolioID")
    kind = records.type_by_number(call.db, sequence_of(call, artifact).type)
    project = _destination(call, given, kind.name)
    known = records.find_collection(call.db, project.number, name)
    if known is None:
        return create_collection(call, project, PORTFOLIO, ensure_type(call, project, kind.name), name, None)
    if known.kind != PORTFOLIO:
        raise bad_request(f"{name!r} is a collection with versions of its own, nothing can be linked to it")
    if records.type_by_number(call.db, known.type).name != kind.name:
        raise bad_request(f"{name!r} holds no artifacts of type {kind.name!r}")
    return known


def _destination(call: Call, given: Mapping[str, Any], type_name: str) -> Project:
    """Where the portfolio is; a registry must exist and may take some types only."""
    name = given.get("projectName")
    if name is None or not name.startswith(registry.PREFIX):
        return projects.ensure(call, given.get("entityName"), name)
    project = projects.writable(call, given.get("entityName"), name)
    known = records.find_type(call.db, project.number, type_name) is not None
    if not known and not registry.allows_all_types(project, call):
        raise bad_request(f"registry {name} takes no artifacts of type {type_name!r}")
    return project
