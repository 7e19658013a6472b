"""Commit of artifacts: the manifest is checked to the last entry, then the version gets its number."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from engine.sandbox import clock
from engine.sandbox.artifacts import manifest_format, records
from engine.sandbox.artifacts.access import readable_artifact, sequence_of, writable_artifact
from engine.sandbox.artifacts.contents import Entry, blob_key, entries_of, manifest_key
from engine.sandbox.artifacts.manifests import CONTENT_TYPE, Manifest, manifests_of
from engine.sandbox.artifacts.records import Artifact
from engine.sandbox.context import Call
from engine.sandbox.database import Database
from engine.sandbox.graph.execution import resolver
from engine.sandbox.refusals import bad_request
from engine.sandbox.storage.objects import ObjectStore

_TARGET = "wandb-artifact://"


@resolver("Mutation.commitArtifact")
async def commit_artifact(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    artifact = writable_artifact(call, given["artifactID"])
    if artifact.state == "PENDING":
        manifests = _manifests_to_commit(call.db, artifact)
        base = manifests[-1].base if manifests[-1].type == "INCREMENTAL" else None
        inherited = {} if base is None else entries_of(call.db, base)
        # Reading, parsing and looking for every blob takes a while for a large manifest.
        entries = await asyncio.to_thread(_checked, call.objects, artifact, manifests, inherited)
        with call.db.transaction():
            _check_homes(call, artifact, entries)
            if records.artifact_by_number(call.db, artifact.number).state == "PENDING":
                _publish(call, artifact, manifests, entries)
    now = records.artifact_by_number(call.db, artifact.number)
    return {"clientMutationId": given.get("clientMutationId"), "artifact": now}


def _manifests_to_commit(db: Database, artifact: Artifact) -> list[Manifest]:
    """The newest manifest; of patches by several writers, all."""
    found = manifests_of(db, artifact)
    if found and found[-1].type == "PATCH":
        found = [manifest for manifest in found if manifest.digest]
    if not found or not found[-1].digest:
        raise bad_request("cannot commit the artifact: its manifest was never uploaded")
    return found if found[-1].type == "PATCH" else found[-1:]


def _checked(
    objects: ObjectStore, artifact: Artifact, manifests: Sequence[Manifest], inherited: Mapping[str, Entry]
) -> dict[str, Entry]:
    uploaded: dict[str, Entry] = {}
    for manifest in manifests:
        stored = objects.stat(manifest.key)
        if stored is None:
            raise bad_request(f"cannot commit the artifact: {manifest.name} was never uploaded")
        if stored.md5_b64 != manifest.digest:
            raise bad_request(
                f"cannot commit the artifact: {manifest.name} has MD5 {stored.md5_b64}, "
                f"announced was {manifest.digest}"
            )
        uploaded |= manifest_format.parse(objects.read(manifest.key), artifact.number)
    # Several writers share one artifact that was announced with the digest of the first one's part.
    if manifests[-1].type != "PATCH":
        digest = manifest_format.canonical_digest(uploaded)
        if digest != artifact.digest:
            raise bad_request(
                f"cannot commit the artifact: its manifest has digest {digest}, "
                f"announced was {artifact.digest}"
            )
    return {**inherited, **_with_sizes(objects, uploaded)}


def _with_sizes(objects: ObjectStore, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    keys = {path: blob_key(e.birth, e.digest) for path, e in entries.items() if e.birth is not None}
    stored = objects.stats(set(keys.values()))
    checked = dict(entries)
    for path, key in keys.items():
        entry, blob = entries[path], stored.get(key)
        if blob is None or blob.md5_b64 != entry.digest:
            raise bad_request(f"cannot commit the artifact: the content of {path!r} was never uploaded")
        if entry.size not in (-1, blob.size):
            raise bad_request(
                f"cannot commit the artifact: {path!r} has {blob.size} bytes, its manifest says {entry.size}"
            )
        checked[path] = replace(entry, size=blob.size)
    return checked


def _check_homes(call: Call, artifact: Artifact, entries: Mapping[str, Entry]) -> None:
    project = sequence_of(call, artifact).project
    births = sorted({entry.birth for entry in entries.values() if entry.birth is not None})
    foreign = call.db.value(
        "SELECT count(*) FROM artifacts a JOIN artifact_collections c ON c.number = a.sequence "
        "WHERE a.number IN (SELECT value FROM json_each(?)) AND c.project <> ?",
        (json.dumps(births), project),
    )
    if foreign:
        raise bad_request("cannot commit the artifact: it has a birthArtifactID of another project")
    targets = {
        entry.ref.removeprefix(_TARGET).partition("/")[0]
        for entry in entries.values()
        if entry.ref is not None and entry.ref.startswith(_TARGET)
    }
    for target in targets:
        if not _is_known(call, target):
            raise bad_request(f"cannot commit the artifact: it refers to the unknown {_TARGET}{target}")


def _is_known(call: Call, target: str) -> bool:
    """Whether the host of a reference, an artifact id in hex, names a version that the caller may see."""
    try:
        artifact_id = base64.b64encode(bytes.fromhex(target)).decode()
    except ValueError:
        return False
    return readable_artifact(call, artifact_id) is not None


def _publish(
    call: Call, artifact: Artifact, manifests: Sequence[Manifest], entries: Mapping[str, Entry]
) -> None:
    call.db.execute_many(
        "INSERT INTO artifact_entries (artifact, path, digest, size, ref, birth) VALUES (?, ?, ?, ?, ?, ?)",
        ((artifact.number, e.path, e.digest, e.size, e.ref, e.birth) for e in entries.values()),
    )
    call.db.execute(
        "UPDATE artifacts SET state = 'COMMITTED', size = ?, file_count = ?, updated_ms = ? WHERE number = ?",
        (sum(entry.size for entry in entries.values()), len(entries), clock.now_ms(), artifact.number),
    )
    if manifests[-1].type != "FULL":
        _write_merged(call, artifact, entries)
    membership = records.add_member(call.db, sequence_of(call, artifact), artifact)
    for alias in {"latest", *json.loads(artifact.wanted_aliases)}:
        records.move_alias(call.db, membership, alias)


def _write_merged(call: Call, artifact: Artifact, entries: Mapping[str, Entry]) -> None:
    data = manifest_format.render(entries)
    number = call.db.insert(
        "INSERT INTO artifact_manifests (artifact, type, digest, name, created_ms) "
        "VALUES (?, 'FULL', '', 'wandb_manifest.json', ?)",
        (artifact.number, clock.now_ms()),
    )
    stored = call.objects.put(manifest_key(artifact.number, number), data, CONTENT_TYPE)
    call.db.execute("UPDATE artifact_manifests SET digest = ? WHERE number = ?", (stored.md5_b64, number))
