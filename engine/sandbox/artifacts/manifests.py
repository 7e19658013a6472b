"""Manifests of artifacts: announced, uploaded, read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.sandbox import clock
from engine.sandbox.artifacts import records
from engine.sandbox.artifacts.access import readable_artifact, writable_artifact
from engine.sandbox.artifacts.contents import hex_digest, manifest_key
from engine.sandbox.artifacts.files import ArtifactFile
from engine.sandbox.artifacts.records import Artifact
from engine.sandbox.context import Call
from engine.sandbox.database import Database
from engine.sandbox.graph import ids
from engine.sandbox.graph.execution import resolver
from engine.sandbox.graph.nodes import Dated, Node
from engine.sandbox.refusals import conflict, not_found

CONTENT_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Manifest(Node, Dated):
    """A manifest that a client announced; its bytes are in the object store once uploaded.

    Attributes:
        digest: MD5 of the bytes in base64; empty while the client has not written them yet.
    """

    typename: ClassVar[str] = "ArtifactManifest"
    number: int
    artifact: int
    type: str
    digest: str
    name: str
    base: int | None
    created_ms: int

    @property
    def key(self) -> str:
        return manifest_key(self.artifact, self.number)


def manifests_of(db: Database, artifact: Artifact) -> list[Manifest]:
    """All manifests of a version, the newest last; that one is the current."""
    rows = db.all("SELECT * FROM artifact_manifests WHERE artifact = ? ORDER BY number", (artifact.number,))
    return [Manifest(*row) for row in rows]


@resolver("Artifact.currentManifest")
def current_manifest(artifact: Artifact, call: Call) -> Manifest | None:
    found = manifests_of(call.db, artifact)
    return found[-1] if found else None


@resolver("ArtifactManifest.artifact")
def manifest_artifact(manifest: Manifest, call: Call) -> Artifact:
    return records.artifact_by_number(call.db, manifest.artifact)


@resolver("ArtifactManifest.file")
def manifest_file(manifest: Manifest, call: Call) -> ArtifactFile:
    artifact = records.artifact_by_number(call.db, manifest.artifact)
    # Before the client knows the digest, there is nothing that it could upload.
    wanted = artifact.state == "PENDING" and manifest.digest != ""
    headers = [f"Content-MD5:{manifest.digest}", f"Content-Type:{CONTENT_TYPE}"]
    url = call.objects.upload_url(manifest.key, md5_b64=manifest.digest, content_type=CONTENT_TYPE)
    return ArtifactFile(
        objects=call.objects,
        artifact=artifact,
        name=manifest.name,
        digest=manifest.digest,
        key=manifest.key,
        known_mimetype=CONTENT_TYPE,
        upload_url=url if wanted else None,
        upload_headers=headers if wanted else [],
    )


@resolver("Mutation.createArtifactManifest")
def create_manifest(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    artifact = _pending(call, given["artifactID"])
    if given["digest"]:
        hex_digest(given["digest"])
    base = given.get("baseArtifactID")
    number = call.db.insert(
        "INSERT INTO artifact_manifests (artifact, type, digest, name, base, created_ms) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (
            artifact.number,
            given["type"],
            given["digest"],
            given["name"],
            _base(call, base),
            clock.now_ms(),
        ),
    )
    return _answer(call, given, number)


@resolver("Mutation.updateArtifactManifest")
def update_manifest(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    number = ids.decode("ArtifactManifest", given["artifactManifestID"])
    manifest = _manifest(call.db, number)
    _pending(call, ids.encode("Artifact", manifest.artifact))
    digest, base = given.get("digest"), given.get("baseArtifactID")
    if digest:
        hex_digest(digest)
    call.db.execute(
        "UPDATE artifact_manifests SET digest = coalesce(?, digest), base = coalesce(?, base) "
        "WHERE number = ?",
        (digest, _base(call, base), number),
    )
    return _answer(call, given, number)


def _manifest(db: Database, number: int) -> Manifest:
    row = db.one("SELECT * FROM artifact_manifests WHERE number = ?", (number,))
    if row is None:
        raise not_found("no such artifact manifest")
    return Manifest(*row)


def _answer(call: Call, given: Mapping[str, Any], number: int) -> dict[str, Any]:
    manifest = _manifest(call.db, number)
    return {"clientMutationId": given.get("clientMutationId"), "artifactManifest": manifest}


def _base(call: Call, artifact_id: str | None) -> int | None:
    if not artifact_id:
        return None
    base = readable_artifact(call, artifact_id)
    if base is None:
        raise not_found(f"base artifact {artifact_id} not found")
    return base.number


def _pending(call: Call, artifact_id: str) -> Artifact:
    artifact = writable_artifact(call, artifact_id)
    if artifact.state != "PENDING":
        raise conflict("the artifact is committed, its manifest cannot change any more")
    return artifact
