"""Deletion of artifact versions, and of the bytes that nobody needs any more."""

from __future__ import annotations

from typing import Any

from engine.sandbox import clock
from engine.sandbox.artifacts import records
from engine.sandbox.artifacts.access import writable_artifact
from engine.sandbox.artifacts.contents import blob_key, manifest_key
from engine.sandbox.artifacts.records import Artifact
from engine.sandbox.context import Call
from engine.sandbox.database import Database
from engine.sandbox.graph.execution import resolver
from engine.sandbox.refusals import conflict
from engine.sandbox.storage.doomed import doom
from engine.sandbox.storage.objects import ObjectStore


def delete_version(db: Database, objects: ObjectStore, artifact: Artifact) -> None:
    """Delete a version wherever it is a member, in a transaction; its number stays used.

    What it brought stays stored as long as another version refers to it, as a draft made from it does.
    """
    db.execute("DELETE FROM artifact_memberships WHERE artifact = ?", (artifact.number,))
    db.execute(
        "UPDATE artifacts SET state = 'DELETED', updated_ms = ? WHERE number = ?",
        (clock.now_ms(), artifact.number),
    )
    births = {
        artifact.number,
        *(
            row["birth"]
            for row in db.all(
                "SELECT DISTINCT birth FROM artifact_entries WHERE artifact = ? AND birth IS NOT NULL",
                (artifact.number,),
            )
        ),
    }
    db.execute("DELETE FROM artifact_entries WHERE artifact = ?", (artifact.number,))
    for birth in births:
        _drop_unneeded(db, objects, birth)
    manifests = db.all("SELECT number FROM artifact_manifests WHERE artifact = ?", (artifact.number,))
    doom(db, objects, (manifest_key(artifact.number, row["number"]) for row in manifests))


def delete_abandoned(db: Database, objects: ObjectStore, before_ms: int) -> None:
    """Delete the versions that were begun before a time and never committed; their upload URLs expired."""
    with db.transaction():
        for row in db.all("SELECT * FROM artifacts WHERE state = 'PENDING' AND created_ms < ?", (before_ms,)):
            delete_version(db, objects, Artifact(*row))


def _drop_unneeded(db: Database, objects: ObjectStore, birth: int) -> None:
    if records.artifact_by_number(db, birth).state != "DELETED":
        return
    unneeded = db.all(
        "SELECT md5 FROM artifact_blobs b WHERE birth = ? AND NOT EXISTS "
        "(SELECT 1 FROM artifact_entries e WHERE e.birth = b.birth AND e.digest = b.md5)",
        (birth,),
    )
    doom(db, objects, (blob_key(birth, row["md5"]) for row in unneeded))
    db.execute_many(
        "DELETE FROM artifact_blobs WHERE birth = ? AND md5 = ?", ((birth, row["md5"]) for row in unneeded)
    )


@resolver("Mutation.deleteArtifact")
def delete_artifact(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    artifact = writable_artifact(call, given["artifactID"])
    aliases = [
        alias.alias
        for membership in records.memberships_of(call.db, artifact)
        for alias in records.aliases_of(call.db, membership)
    ]
    if aliases and not given.get("deleteAliases"):
        raise conflict(
            f"cannot delete an artifact that has aliases ({', '.join(sorted(set(aliases)))}): "
            "delete them first, or set deleteAliases"
        )
    delete_version(call.db, call.objects, artifact)
    now = records.artifact_by_number(call.db, artifact.number)
    return {"clientMutationId": given.get("clientMutationId"), "artifact": now}
