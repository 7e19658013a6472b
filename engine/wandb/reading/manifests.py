"""Manifests of artifact versions, read until they are what the server says that they are."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

import anyio.to_thread
import orjson

from engine.errors import EngineError, IntegrityError, Unsupported
from engine.records import Blob, Json
from engine.wandb.client import WandbClient
from engine.wandb.digests import artifact_digest, md5_b64
from engine.wandb.reading import documents
from engine.wandb.reading.locating import read_bytes

VERSION: Final = 1


async def read_manifest(
    client: WandbClient, version_id: str, told: Json, digest: str | None, subject: str, *, as_it_is: bool
) -> dict[str, Json]:
    """The manifest of a version; what does not have its digest is asked for once more.

    Args:
        told: ``currentManifest`` as the server gave it.
        digest: that of the version, which follows from the entries.
        as_it_is: take one without the right digest too, when it stays like that: for who compares
            every entry, and says which one is wrong.

    Raises:
        IntegrityError: it has neither its own digest nor that of the version.
        Unsupported: it is of a version that is not known.
    """
    try:
        return await _fetched(client, version_id, told, digest, subject)
    except IntegrityError:
        return await _fetched(client, version_id, told, digest, subject, checked=not as_it_is)


async def _fetched(
    client: WandbClient,
    version_id: str,
    told: Json,
    digest: str | None,
    subject: str,
    *,
    checked: bool = True,
) -> dict[str, Json]:
    async def urls(asked: int) -> str | None:
        if not asked:
            return str(told["file"]["directUrl"])
        # A signed URL may have grown old while others were read.
        data = await client.graphql(documents.MANIFEST_URL, {"id": version_id}, subject)
        manifest = (data.get("artifact") or {}).get("currentManifest")
        return None if manifest is None else str(manifest["file"]["directUrl"])

    text = bytearray()
    async with aclosing(
        read_bytes(client, Blob(path="manifest"), urls, f"manifest of {subject}", 0)
    ) as pieces:
        async for piece in pieces:
            text += piece
    try:
        return await anyio.to_thread.run_sync(_parsed, bytes(text), told.get("digest"), digest, checked)
    except EngineError as error:
        error.side, error.subject = client.side, subject
        raise


def _parsed(
    text: bytes, own_digest: str | None, version_digest: str | None, checked: bool
) -> dict[str, Json]:
    try:
        manifest = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise IntegrityError(f"the manifest is no JSON: {error}", exc=error) from error
    # Servers that put manifests together themselves may tell no digest of the result.
    whole = not checked or md5_b64(text) == own_digest
    if not whole and not _has_digest(manifest, version_digest):
        raise IntegrityError("the manifest does not have the digest that the server tells of it")
    if manifest.get("version") != VERSION:
        raise Unsupported(f"the manifest is of version {manifest.get('version')!r}")
    found: dict[str, Json] = manifest
    return found


def _has_digest(manifest: Json, digest: str | None) -> bool:
    """Whether a version with these entries has this digest."""
    if not isinstance(manifest, dict) or not isinstance(contents := manifest.get("contents"), dict):
        return False
    entries: list[tuple[str, str]] = []
    for path, entry in contents.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("digest"), str):
            return False
        entries.append((path, entry["digest"]))
    return artifact_digest(entries) == digest
