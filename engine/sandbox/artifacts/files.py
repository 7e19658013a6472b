"""Files of artifacts: upload URLs, multipart uploads, listings, and downloads by digest."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from engine.sandbox.artifacts import records
from engine.sandbox.artifacts.access import sequence_of, writable_artifact
from engine.sandbox.artifacts.contents import Entry, blob_key
from engine.sandbox.artifacts.records import Artifact, Membership
from engine.sandbox.artifacts.rules import check_path
from engine.sandbox.context import Call
from engine.sandbox.graph.connections import Connection, wrap
from engine.sandbox.graph.execution import resolver
from engine.sandbox.refusals import Refusal, bad_request, conflict, not_found
from engine.sandbox.storage.objects import DAY_S, ObjectStore, Part
from engine.sandbox.storage.s3_errors import S3Error

# -- nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFile:
    """A file of an artifact as GraphQL shows it; what is not asked for is not worked out.

    Attributes:
        key: where the bytes are stored; None for a reference.
        ref: URI of a reference.
        known_size: bytes, if the manifest tells.
    """

    typename: ClassVar[str] = "File"
    objects: ObjectStore
    artifact: Artifact
    name: str
    digest: str
    key: str | None = None
    ref: str | None = None
    known_size: int | None = None
    known_mimetype: str | None = None
    upload_url: str | None = None
    upload_headers: Sequence[str] = ()
    upload_multipart_urls: Mapping[str, Any] | None = None
    deleted_at: None = None

    @property
    def id(self) -> str:
        return base64.b64encode(f"ArtifactFile:{self.artifact.number}/{self.name}".encode()).decode()

    @property
    def display_name(self) -> str:
        return self.name

    @property
    def direct_url(self) -> str:
        if self.key is None:
            return self.ref or ""
        return self.objects.download_url(self.key, expires_s=DAY_S)

    def url(self, *, upload: bool | None = None) -> str | None:
        """As clients name it; for an upload, the upload URL."""
        return self.upload_url if upload else self.direct_url

    @property
    def storage_path(self) -> str | None:
        return self.key

    @property
    def is_reference(self) -> bool:
        return self.ref is not None

    @property
    def exists(self) -> bool:
        return self.is_reference or (self.key is not None and self.objects.stat(self.key) is not None)

    @property
    def md5(self) -> str | None:
        return None if self.is_reference else self.digest

    @property
    def mimetype(self) -> str | None:
        return self.known_mimetype or mimetypes.guess_type(self.name)[0]

    @property
    def size_bytes(self) -> int:
        if self.known_size is None and self.key is not None:
            stored = self.objects.stat(self.key)
            return stored.size if stored else 0
        return self.known_size or 0

    @property
    def created_at(self) -> str:
        return self.artifact.created_at

    @property
    def updated_at(self) -> str | None:
        return self.artifact.updated_at


def _entry_node(call: Call, artifact: Artifact, entry: Entry) -> ArtifactFile:
    return ArtifactFile(
        objects=call.objects,
        artifact=artifact,
        name=entry.path,
        digest=entry.digest,
        key=None if entry.birth is None else blob_key(entry.birth, entry.digest),
        ref=entry.ref,
        known_size=entry.size,
    )


# -- upload


@resolver("Mutation.createArtifactFiles")
def create_files(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    if given.get("digestAlgorithm") not in (None, "MANIFEST_MD5"):
        raise bad_request("this server stores files by their MD5")
    homes: dict[str, _Home] = {}
    edges = []
    for number, spec in enumerate(given["artifactFiles"]):
        artifact_id = spec["artifactID"]
        if artifact_id not in homes:
            artifact = writable_artifact(call, artifact_id)
            homes[artifact_id] = _Home(artifact, sequence_of(call, artifact).project)
        node = _upload_node(call, homes[artifact_id], spec)
        edges.append({"cursor": str(number), "node": node})
    # Edges answer the request by position, so there is one page only.
    files = {**wrap(edges, has_next=False, has_previous=False, total=len(edges)), "uploadHeaders": []}
    return {"clientMutationId": given.get("clientMutationId"), "files": lambda **_page: files}


class _Home(NamedTuple):
    """The version that files are uploaded for, and the number of its project."""

    artifact: Artifact
    project: int


def _upload_node(call: Call, home: _Home, spec: Mapping[str, Any]) -> ArtifactFile:
    artifact, md5 = home.artifact, spec["md5"]
    if artifact.state != "PENDING":
        raise conflict("the artifact is committed, it takes no more files")
    check_path(spec["name"])
    birth = _stored_for(call, home, md5)
    if birth is not None:
        return ArtifactFile(
            objects=call.objects,
            artifact=artifact if birth == artifact.number else records.artifact_by_number(call.db, birth),
            name=spec["name"],
            digest=md5,
            key=blob_key(birth, md5),
        )
    key = blob_key(artifact.number, md5)
    call.db.execute(
        "INSERT OR IGNORE INTO artifact_blobs (project, md5, birth) VALUES (?, ?, ?)",
        (home.project, md5, artifact.number),
    )
    content_type = spec.get("mimetype") or mimetypes.guess_type(spec["name"])[0] or "application/octet-stream"
    return ArtifactFile(
        objects=call.objects,
        artifact=artifact,
        name=spec["name"],
        digest=md5,
        key=key,
        known_mimetype=content_type,
        upload_url=call.objects.upload_url(key, content_type=content_type, md5_b64=md5, expires_s=DAY_S),
        upload_headers=[f"Content-MD5:{md5}", f"Content-Type:{content_type}"],
        upload_multipart_urls=_part_urls(call, key, content_type, spec.get("uploadPartsInput")),
    )


def _stored_for(call: Call, home: _Home, md5: str) -> int | None:
    """The version that has brought this content, if it is stored and will stay."""
    rows = call.db.all(
        "SELECT birth FROM artifact_blobs b JOIN artifacts a ON a.number = b.birth "
        "WHERE b.project = ? AND b.md5 = ? AND (a.state = 'COMMITTED' OR a.number = ?) ORDER BY birth",
        (home.project, md5, home.artifact.number),
    )
    for row in rows:
        if call.objects.stat(blob_key(row["birth"], md5)) is not None:
            return int(row["birth"])
    return None


def _part_urls(
    call: Call, key: str, content_type: str, parts: list[dict[str, Any]] | None
) -> dict[str, Any] | None:
    if not parts:
        return None
    upload = call.objects.create_multipart(key, content_type)
    urls = []
    for part in parts:
        try:
            md5_b64 = base64.b64encode(bytes.fromhex(part["hexMD5"])).decode()
        except ValueError as error:
            raise bad_request(f"{part['hexMD5']!r} is not an MD5 in hex") from error
        url = call.objects.part_url(key, upload, part["partNumber"], md5_b64=md5_b64)
        urls.append({"partNumber": part["partNumber"], "uploadUrl": url})
    return {"uploadID": upload, "uploadUrlParts": urls}


@resolver("Mutation.completeMultipartUploadArtifact")
async def complete_multipart(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    artifact = writable_artifact(call, given["artifactID"])
    key = given["storagePath"]
    if not key.startswith(f"artifacts/{artifact.number}/"):
        raise bad_request(f"{key!r} is not a storagePath of this artifact")
    parts = [Part(part["partNumber"], part["hexMD5"]) for part in given["completedParts"]]
    try:
        stored = await asyncio.to_thread(call.objects.complete_multipart, key, given["uploadID"], parts)
    except S3Error as error:
        raise Refusal(error.status, f"{error.code}: {error.message}") from error
    return {"clientMutationId": given.get("clientMutationId"), "digest": stored.md5_b64}


# -- listings


@resolver("Artifact.files")
def artifact_files(
    artifact: Artifact,
    call: Call,
    *,
    names: list[str] | None = None,
    content_type: list[str] | None = None,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
) -> Connection:
    """Entries by path. A page costs as much as it holds, however many entries there are."""
    if content_type is not None:
        raise Refusal(501, "the sandbox does not implement files(contentType:) of artifacts")
    where = "artifact = :artifact AND (:names IS NULL OR path IN (SELECT value FROM json_each(:names)))"
    given = {
        "artifact": artifact.number,
        "names": None if names is None else json.dumps(names),
        "after": _path_of(after),
        "before": _path_of(before),
        "limit": -1 if first is None and last is None else (first if first is not None else last or 0) + 1,
    }
    backwards = first is None and last is not None
    rows = call.db.all(
        f"SELECT path, digest, size, ref, birth FROM artifact_entries WHERE {where} "  # noqa: S608
        "AND (:after IS NULL OR path > :after) AND (:before IS NULL OR path < :before) "
        f"ORDER BY path {'DESC' if backwards else 'ASC'} LIMIT :limit",
        given,
    )
    more = given["limit"] != -1 and len(rows) == given["limit"]
    entries = [Entry(*row) for row in (rows[:-1] if more else rows)]
    if backwards:
        entries.reverse()
    total = call.db.value(f"SELECT count(*) FROM artifact_entries WHERE {where}", given)  # noqa: S608
    edges = [{"cursor": _cursor_of(e.path), "node": _entry_node(call, artifact, e)} for e in entries]
    has_next, has_previous = (before is not None, more) if backwards else (more, after is not None)
    return {**wrap(edges, has_next=has_next, has_previous=has_previous, total=total), "uploadHeaders": []}


@resolver("ArtifactCollectionMembership.files")
def membership_files(membership: Membership, call: Call, **arguments: Any) -> Connection:
    return artifact_files(records.artifact_by_number(call.db, membership.artifact), call, **arguments)


@resolver("Artifact.filesByManifestEntries")
def files_by_entries(
    artifact: Artifact,
    call: Call,
    *,
    entries: list[dict[str, Any]] | None = None,
    storage_layout: str,  # noqa: ARG001  # both layouts name the same bytes here
    manifest_version: str,  # noqa: ARG001
    storage_region: str | None = None,  # noqa: ARG001
) -> Connection:
    edges = []
    for wanted in entries or []:
        row = call.db.one(
            "SELECT path, digest, size, ref, birth FROM artifact_entries "
            "WHERE artifact = ? AND path = ? AND digest = ?",
            (artifact.number, wanted["name"], wanted["digest"]),
        )
        if row is None:
            raise not_found(f"the artifact has no entry {wanted['name']!r} with digest {wanted['digest']}")
        node = _entry_node(call, artifact, Entry(*row))
        edges.append({"cursor": _cursor_of(wanted["name"]), "node": node})
    return {**wrap(edges, has_next=False, has_previous=False, total=len(edges)), "uploadHeaders": []}


def _cursor_of(path: str) -> str:
    return base64.urlsafe_b64encode(path.encode()).decode()


def _path_of(cursor: str | None) -> str | None:
    if not cursor:
        return None
    try:
        return base64.urlsafe_b64decode(cursor).decode()
    except (binascii.Error, ValueError) as error:
        raise bad_request(f"{cursor!r} is not a cursor of this list") from error
