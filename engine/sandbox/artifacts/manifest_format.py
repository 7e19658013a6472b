"""The manifest of an artifact as clients write it, and the digest that names its contents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import orjson

from engine.sandbox.artifacts.contents import Entry, hex_digest
from engine.sandbox.artifacts.rules import check_path
from engine.sandbox.graph import ids
from engine.sandbox.refusals import Refusal, bad_request

_STORAGE_POLICY = "wandb-storage-policy-v1"


def parse(data: bytes, artifact: int) -> dict[str, Entry]:
    """The entries of a manifest in format version 1.

    Args:
        artifact: number of the version that the manifest describes; the home of new files.

    Raises:
        Refusal: 400, it is not what readers of this format need.
    """
    try:
        manifest = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the manifest is not JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("version") != 1:
        raise bad_request("the manifest must be an object of version 1")
    if manifest.get("storagePolicy") != _STORAGE_POLICY:
        raise bad_request(f"the manifest's storagePolicy must be {_STORAGE_POLICY}")
    contents, config = manifest.get("contents"), manifest.get("storagePolicyConfig")
    if not isinstance(contents, dict) or not isinstance(config, dict):
        raise bad_request("the manifest needs contents and storagePolicyConfig, both objects")
    return {path: _entry(path, value, artifact) for path, value in contents.items()}


def _entry(path: str, value: Any, artifact: int) -> Entry:
    check_path(path)
    if not isinstance(value, dict) or not isinstance(value.get("digest"), str):
        raise bad_request(f"manifest entry {path!r} has no digest")
    ref, size, birth = value.get("ref"), value.get("size"), value.get("birthArtifactID")
    if size is not None and (not isinstance(size, int) or size < 0):
        raise bad_request(f"manifest entry {path!r} has size {size!r}")
    if ref is not None:
        if not isinstance(ref, str) or "://" not in ref:
            raise bad_request(f"manifest entry {path!r} refers to {ref!r}, which is no URI")
        if ref.startswith("wandb-client-artifact://"):
            raise bad_request(f"manifest entry {path!r} refers to a client id, which only its writer knows")
        return Entry(path, value["digest"], size or 0, ref, None)
    hex_digest(value["digest"])
    try:
        number = artifact if birth is None else ids.decode("Artifact", birth)
    except Refusal as refusal:
        raise bad_request(f"manifest entry {path!r}: {refusal.message}") from refusal
    return Entry(path, value["digest"], -1 if size is None else size, None, number)


def render(entries: Mapping[str, Entry]) -> bytes:
    """A manifest for entries that the server itself put together."""
    contents: dict[str, dict[str, Any]] = {}
    for path, entry in entries.items():
        contents[path] = {"digest": entry.digest, "size": entry.size}
        if entry.ref is not None:
            contents[path]["ref"] = entry.ref
        if entry.birth is not None:
            contents[path]["birthArtifactID"] = ids.encode("Artifact", entry.birth)
    manifest = {
        "version": 1,
        "storagePolicy": _STORAGE_POLICY,
        "storagePolicyConfig": {"storageLayout": "V2"},
        "contents": contents,
    }
    return json.dumps(manifest).encode()


def canonical_digest(entries: Mapping[str, Entry]) -> str:
    """The digest of a version: MD5 in hex over paths and digests, in the order of the paths."""
    md5 = hashlib.md5(b"wandb-artifact-manifest-v1\n", usedforsecurity=False)
    for path in sorted(entries):
        md5.update(f"{path}:{entries[path].digest}\n".encode())
    return md5.hexdigest()
