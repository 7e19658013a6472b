"""The manifest of an artifact version: what the server keeps of its entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from engine.records import Json

if TYPE_CHECKING:
    from engine.wandb.uploads.payloads import Payload

STORAGE_LAYOUT = "V2"


@dataclass(slots=True, kw_only=True)
class Entry:
    """One line of a manifest, small enough to hold 10^5 of them.

    Attributes:
        digest: base64 MD5 of the bytes, or the digest of a reference.
        ref: URI of a reference, which is not uploaded.
        parts: hex MD5 of each part, if the file goes in parts.
        birth_artifact_id: the artifact version under which the bytes were first stored.
        payload: where the bytes are until they are uploaded.
    """

    path: str
    digest: str
    size: int | None
    ref: str | None = None
    extra: Mapping[str, Json] | None = None
    parts: tuple[str, ...] = ()
    birth_artifact_id: str | None = None
    payload: Payload | None = None

    def as_json(self) -> dict[str, Json]:
        content: dict[str, Json] = {"digest": self.digest}
        if self.size is not None:
            content["size"] = self.size
        if self.birth_artifact_id is not None:
            content["birthArtifactID"] = self.birth_artifact_id
        if self.ref is not None:
            content["ref"] = self.ref
        if self.extra:
            content["extra"] = dict(self.extra)
        return content


def manifest_json(entries: Iterable[Entry]) -> bytes:
    """Manifest version 1 of the storage layout V2, as W&B's own clients write and read it.

    Entry by entry: as one object, 10^5 of them would need several times the memory of the text.
    """
    head = orjson.dumps(
        {
            "version": 1,
            "storagePolicy": "wandb-storage-policy-v1",
            "storagePolicyConfig": {"storageLayout": STORAGE_LAYOUT},
        }
    )
    text = bytearray(head[:-1] + b',"contents":{')
    comma = b""
    for entry in entries:
        text += comma + orjson.dumps(entry.path) + b":" + orjson.dumps(entry.as_json())
        comma = b","
    text += b"}}"
    return bytes(text)
