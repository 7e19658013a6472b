"""Short digests by which a later transfer tells whether something changed.

They are compared with what the same engine wrote earlier and with nothing else, so their form may change:
everything then counts as changed, and is applied again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, fields, is_dataclass

from engine.records import Artifact, ArtifactEntry, Json

_BYTES = 16
_PRIVATE = frozenset({"locator", "fingerprint", "local_path"})
"""Where the source finds things is no part of what they are."""


def fingerprint(*facts: Json) -> str:
    """A digest of any records and JSON values; NaN, infinities and -0.0 count as what they are."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.blake2b(text.encode(), digest_size=_BYTES).hexdigest()


def _plain(value: object) -> Json:
    if is_dataclass(value):
        return {
            name: getattr(value, name)
            for name in (field.name for field in fields(value))
            if name not in _PRIVATE
        }
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no fingerprint")


@dataclass(slots=True)
class ContentFingerprint:
    """The digest of an artifact and its entries, which may come in any order and any number.

    An entry counts by path, size and whatever digest the source tells; a file that was replaced by another
    of the same size is only noticed where the source tells digests.
    """

    artifact: Artifact
    _sum: int = 0
    _count: int = 0
    _all: bool = False

    async def watch(self, entries: AsyncIterator[ArtifactEntry]) -> AsyncGenerator[ArtifactEntry]:
        """The same entries; each counts as it goes by."""
        async for entry in entries:
            # A sum is the same in any order, and unlike XOR it sees an entry that comes twice.
            digest = fingerprint(entry.path, entry.size, entry.md5, entry.ref, entry.digest)
            self._sum = (self._sum + int(digest, 16)) % (1 << 8 * _BYTES)
            self._count += 1
            yield entry
        self._all = True

    def value(self) -> str | None:
        """None if not all entries went by."""
        return fingerprint(self.artifact, self._count, f"{self._sum:x}") if self._all else None
