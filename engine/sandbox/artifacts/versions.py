"""Artifact versions: created, found, described."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from engine.sandbox import clock
from engine.sandbox.artifacts import records
from engine.sandbox.artifacts.access import (
    may_read,
    may_read_project,
    readable_artifact,
    sequence_of,
    writable_artifact,
)
from engine.sandbox.artifacts.collections import create_collection, ensure_type
from engine.sandbox.artifacts.lineage import record_output
from engine.sandbox.artifacts.records import SEQUENCE, Artifact, ArtifactType, Collection
from engine.sandbox.artifacts.rules import check_alias, check_metadata, check_new_name
from engine.sandbox.artifacts.tags import add_tags, remove_tags
from engine.sandbox.context import Call
from engine.sandbox.graph.execution import resolver
from engine.sandbox.projects import projects
from engine.sandbox.projects.projects import Project
from engine.sandbox.refusals import bad_request
from engine.sandbox.runs import runs
from engine.sandbox.runs.runs import Run

INHERIT_TTL = -1
DISABLED_TTL = -2
"""On input, besides a positive number of seconds."""

_TYPES_WITHOUT_TTL = ("wandb-history",)

# -- found


@resolver("Query.artifact")
def query_artifact(_root: None, call: Call, *, id: str) -> Artifact | None:  # noqa: A002
    return readable_artifact(call, id)


@resolver("Project.artifact")
def project_artifact(
    project: Project,
    call: Call,
    *,
    name: str,
    enable_tracking: bool | None = None,  # noqa: ARG001
) -> Artifact | None:
    membership = records.resolve_name(call.db, project.number, name)
    return records.artifact_by_number(call.db, membership.artifact) if membership else None


@resolver("ArtifactType.artifact")
def type_artifact(kind: ArtifactType, call: Call, *, name: str) -> Artifact | None:
    membership = records.resolve_name(call.db, kind.project, name)
    if membership is None:
        return None
    collection = records.collection_by_number(call.db, membership.collection)
    in_type = collection.type == kind.number
    return records.artifact_by_number(call.db, membership.artifact) if in_type else None


@resolver("Query.clientIDMapping")
def client_id_mapping(_root: None, call: Call, *, client_id: str) -> dict[str, Any] | None:
    row = call.db.one("SELECT kind, number FROM client_ids WHERE client_id = ?", (client_id,))
    if row is None:
        return None
    entry: Artifact | Collection
    if row["kind"] == "Artifact":
        entry = records.artifact_by_number(call.db, row["number"])
        visible = may_read(call, entry)
    else:
        entry = records.collection_by_number(call.db, row["number"])
        visible = may_read_project(call, entry.project)
    return {"clientID": client_id, "serverID": entry.id, "entry": entry} if visible else None


@resolver("Mutation.createClientIDMapping")
def create_client_id_mapping(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    artifact = writable_artifact(call, given["serverID"])
    records.map_client_id(call.db, given["clientID"], "Artifact", artifact.number)
    mapping = {"clientID": given["clientID"], "serverID": artifact.id, "entry": artifact}
    return {"clientMutationId": given.get("clientMutationId"), "clientIDMapping": mapping}


# -- fields


@resolver("Artifact.artifactSequence")
def artifact_sequence(artifact: Artifact, call: Call) -> Collection:
    return sequence_of(call, artifact)


@resolver("Artifact.artifactType")
def artifact_type(artifact: Artifact, call: Call) -> ArtifactType:
    return records.type_by_number(call.db, sequence_of(call, artifact).type)


@resolver("Artifact.versionIndex")
def version_index(
    artifact: Artifact, call: Call, *, artifact_collection_name: str | None = None
) -> int | None:
    for membership in records.memberships_of(call.db, artifact):
        collection = records.collection_by_number(call.db, membership.collection)
        if artifact_collection_name == collection.name or (
            artifact_collection_name is None and collection.number == artifact.sequence
        ):
            return membership.version_index
    return None


@resolver("Artifact.commitHash")
def commit_hash(
    artifact: Artifact,
    _call: Call,
    *,
    artifact_collection_name: str | None = None,  # noqa: ARG001
) -> str:
    return artifact.commit_hash


@resolver("Artifact.digestAlgorithm")
def digest_algorithm(_artifact: Artifact, _call: Call) -> str:
    return "MANIFEST_MD5"


@resolver("Artifact.labels")
def labels(_artifact: Artifact, _call: Call) -> None:
    """Labels were replaced by tags; nothing is kept of them."""


@resolver("Artifact.ttlDurationSeconds")
def ttl_duration_seconds(artifact: Artifact, _call: Call) -> int:
    return INHERIT_TTL if artifact.ttl_s is None else artifact.ttl_s


@resolver("Artifact.ttlIsInherited")
def ttl_is_inherited(artifact: Artifact, _call: Call) -> bool:
    return artifact.ttl_s is None


# -- created


@resolver("Mutation.createArtifact")
def create_artifact(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    _check_new(given)
    project = projects.ensure(call, given["entityName"], given["projectName"])
    run = _creating_run(call, project, given.get("runName"))
    sequence = _ensure_sequence(call, project, given)
    records.map_client_id(call.db, given.get("sequenceClientID"), "ArtifactSequence", sequence.number)
    artifact = (
        _same_request(call, sequence, given) or _same_content(call, sequence, given)
    ) or _insert_artifact(call, sequence, run, given)
    records.map_client_id(call.db, given.get("clientID"), "Artifact", artifact.number)
    if run is not None:
        record_output(call, run, artifact)
    return {"clientMutationId": given.get("clientMutationId"), "artifact": artifact}


def _check_new(given: Mapping[str, Any]) -> None:
    if given["digestAlgorithm"] != "MANIFEST_MD5":
        raise bad_request("this server knows artifacts by digests of MD5 only")
    check_metadata(given.get("metadata"))
    for wanted in given.get("aliases") or []:
        check_alias(wanted["alias"])
    if given.get("ttlDurationSeconds") is not None:
        _check_ttl(given["ttlDurationSeconds"], given["artifactTypeName"])


def _creating_run(call: Call, project: Project, name: str | None) -> Run | None:
    if not name:
        return None
    run = runs.find(call, project, name)
    if run is None:
        raise bad_request(f"run {project.entity_name}/{project.name}/{name} does not exist")
    return run


def _ensure_sequence(call: Call, project: Project, given: Mapping[str, Any]) -> Collection:
    names = given.get("artifactCollectionNames") or []
    name = given.get("artifactCollectionName") or (names[0] if names else None)
    if name is None:
        raise bad_request("createArtifact needs artifactCollectionName")
    known = records.find_collection(call.db, project.number, name)
    if known is None:
        check_new_name(name)
        kind = ensure_type(call, project, given["artifactTypeName"])
        return create_collection(call, project, SEQUENCE, kind, name, None)
    if known.kind != SEQUENCE:
        raise bad_request(f"{name!r} is a collection of links, artifacts cannot be logged to it")
    kind = records.type_by_number(call.db, known.type)
    if kind.name != given["artifactTypeName"]:
        raise bad_request(
            f"artifact {name} already exists with type {kind.name!r}, "
            f"cannot log type {given['artifactTypeName']!r} to it"
        )
    return known


def _same_request(call: Call, sequence: Collection, given: Mapping[str, Any]) -> Artifact | None:
    """What an earlier attempt of this request, or another writer of the same version, created."""
    row = call.db.one(
        "SELECT a.* FROM artifacts a JOIN client_ids c ON c.kind = 'Artifact' AND c.number = a.number "
        "WHERE c.client_id = ? AND a.sequence = ? AND a.digest = ? AND a.state <> 'DELETED'",
        (given.get("clientID"), sequence.number, given["digest"]),
    )
    if row is None and given.get("distributedID"):
        row = call.db.one(
            "SELECT * FROM artifacts WHERE sequence = ? AND distributed_id = ? AND state = 'PENDING'",
            (sequence.number, given["distributedID"]),
        )
    return Artifact(*row) if row else None


def _same_content(call: Call, sequence: Collection, given: Mapping[str, Any]) -> Artifact | None:
    """The newest version with this content, which then gets the aliases that were asked for."""
    if not given.get("enableDigestDeduplication"):
        return None
    row = call.db.one(
        "SELECT * FROM artifacts WHERE sequence = ? AND digest = ? AND state = 'COMMITTED' "
        "ORDER BY number DESC",
        (sequence.number, given["digest"]),
    )
    if row is None:
        return None
    artifact = Artifact(*row)
    membership = records.membership_in(call.db, artifact, sequence.number)
    assert membership is not None, "a committed version is in its sequence"
    for alias in _aliases_for(sequence, given):
        records.move_alias(call.db, membership, alias)
    return artifact


def _aliases_for(sequence: Collection, given: Mapping[str, Any]) -> list[str]:
    return [
        wanted["alias"]
        for wanted in given.get("aliases") or []
        if wanted["artifactCollectionName"] == sequence.name
    ]


def _insert_artifact(call: Call, sequence: Collection, run: Run | None, given: Mapping[str, Any]) -> Artifact:
    now = clock.now_ms()
    number = call.db.insert(
        "INSERT INTO artifacts (sequence, digest, description, metadata, ttl_s, history_step, run, user, "
        "distributed_id, wanted_aliases, commit_hash, created_ms, updated_ms) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            sequence.number,
            given["digest"],
            given.get("description"),
            given.get("metadata"),
            _stored_ttl(given.get("ttlDurationSeconds")),
            given.get("historyStep"),
            run.number if run else None,
            call.user.number,
            given.get("distributedID"),
            json.dumps(_aliases_for(sequence, given)),
            secrets.token_hex(10),
            now,
            now,
        ),
    )
    artifact = records.artifact_by_number(call.db, number)
    add_tags(call.db, artifact, given.get("tags") or [])
    return artifact


# -- changed


@resolver("Mutation.updateArtifact")
def update_artifact(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    artifact = writable_artifact(call, given["artifactID"])
    check_metadata(given.get("metadata"))
    call.db.execute(
        "UPDATE artifacts SET description = coalesce(?, description), metadata = coalesce(?, metadata), "
        "updated_ms = ? WHERE number = ?",
        (given.get("description"), given.get("metadata"), clock.now_ms(), artifact.number),
    )
    ttl = given.get("ttlDurationSeconds")
    if ttl is not None:
        _check_ttl(ttl, artifact_type(artifact, call).name)
        call.db.execute(
            "UPDATE artifacts SET ttl_s = ? WHERE number = ?", (_stored_ttl(ttl), artifact.number)
        )
    add_tags(call.db, artifact, given.get("tagsToAdd") or [])
    remove_tags(call.db, artifact, given.get("tagsToDelete") or [])
    if given.get("aliases") is not None:
        _replace_aliases(call, artifact, given)
    now = records.artifact_by_number(call.db, artifact.number)
    return {"clientMutationId": given.get("clientMutationId"), "artifact": now}


def _replace_aliases(call: Call, artifact: Artifact, given: Mapping[str, Any]) -> None:
    """Older SDKs send all aliases that a version shall have in its own sequence."""
    sequence = sequence_of(call, artifact)
    membership = records.membership_in(call.db, artifact, sequence.number)
    if membership is None:
        raise bad_request("an artifact has no aliases before it is committed")
    call.db.execute("DELETE FROM artifact_aliases WHERE membership = ?", (membership.number,))
    for alias in _aliases_for(sequence, given):
        check_alias(alias)
        records.move_alias(call.db, membership, alias)


def _check_ttl(ttl: int, type_name: str) -> None:
    if ttl == 0 or ttl < DISABLED_TTL:
        raise bad_request(
            f"ttlDurationSeconds must be positive, {INHERIT_TTL} (inherit) or {DISABLED_TTL} (none)"
        )
    if ttl > 0 and type_name in _TYPES_WITHOUT_TTL:
        raise bad_request(f"artifacts of type {type_name} cannot have a TTL")


def _stored_ttl(ttl: int | None) -> int | None:
    return None if ttl == INHERIT_TTL else ttl
