"""What an interrupted upload of an artifact version left at the server, for the next attempt to go on with.

* **The version.** ``clientID`` names a request for one: W&B's client repeats ``createArtifact`` with the
  same id when an answer was lost, so that a server gives the same pending version again. Of that it tells for
  each file whether it has the bytes (``uploadUrl`` is null, ``core/pkg/artifacts/saver.go``), and these are
  not sent twice.
* **Parts of a large file.** They belong to the upload id that came with their URLs, and the protocol has no
  request for fresh URLs of an upload that exists: ``CreateArtifactFileSpecInput`` takes a name, a digest and
  the parts, no upload id. Parts are left out where a server answers the same request with the same upload
  id; where it begins a new upload, as the sandbox does, the file is sent whole, as W&B's own client does.

Upload URLs would allow more, but they carry their own credentials, so they are never written down.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import orjson

from engine.records import Json
from engine.transfer.ledger.memos import RunMemos
from engine.transfer.ledger.schema import Kind

CLIENT_IDS = ("clientID", "sequenceClientID")

BYTES, FILES = 64 * 1024 * 1024, 1_000
"""A version with fewer of both is sent again sooner than it is remembered."""


@dataclass(slots=True)
class Unfinished:
    """One version on its way; ``of`` makes one."""

    _memos: RunMemos | None
    _name: str
    _tags: defaultdict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))

    @classmethod
    def of(cls, memos: RunMemos, announcement: Mapping[str, Json], size: int, files: int) -> Self:
        """
        Args:
            announcement: the input of ``createArtifact``; another version is announced differently.
            size: bytes of all files.
        """
        told = {name: value for name, value in announcement.items() if name not in CLIENT_IDS}
        name = _short(orjson.dumps(told, option=orjson.OPT_SORT_KEYS))
        return cls(memos if size >= BYTES or files >= FILES else None, name)

    async def client_ids(self, new: Mapping[str, Json]) -> Mapping[str, Json]:
        """Those of the attempt that was interrupted; the new ones if there was none."""
        if self._memos is None:
            return new
        known = await self._memos.get(Kind.OBJECT_PART, self._name)
        if known is None:
            await self.begin(new)
        return new if known is None else known

    async def begin(self, ids: Mapping[str, Json]) -> None:
        """The version is being asked for with these ids."""
        if self._memos is not None:
            await self._memos.put(Kind.OBJECT_PART, self._name, dict(ids))

    async def parts(self, upload: str) -> Mapping[int, str]:
        """ETags of the parts of an upload that the object store has, by their numbers."""
        if self._memos is None:
            return self._tags[upload]
        found = await self._memos.find(Kind.OBJECT_PART, self._of_upload(upload))
        return {int(name.rpartition("#")[2]): tag for name, tag in found.items()} | self._tags[upload]

    async def acknowledged(self, upload: str, part: int, tag: str) -> None:
        """The object store has a part."""
        self._tags[upload][part] = tag
        if self._memos is not None:
            await self._memos.put(Kind.OBJECT_PART, f"{self._of_upload(upload)}{part}", tag)

    def _of_upload(self, upload: str) -> str:
        return f"{self._name}#{_short(upload.encode())}#"


def _short(text: bytes) -> str:
    return hashlib.md5(text, usedforsecurity=False).hexdigest()
