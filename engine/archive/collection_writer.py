"""One collection being archived.

The files of a version are in the archive when its call returns, and what they are is noted beside it;
``finish`` writes the record of the collection, which tells of all its versions at once. A process that is
killed at any moment leaves the record of before, and the notes, so that no file has to be asked for again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from anyio.to_thread import run_sync

from engine.archive.addresses import Addresses
from engine.archive.codec import plain
from engine.archive.contents import Contents
from engine.archive.keeping import DAMAGE, write_record
from engine.archive.layout import COLLECTION, CollectionPlace, Layout, disk_errors, dumps
from engine.errors import Side
from engine.protocols import Reader
from engine.records import ArtifactEntry, Collection, Json, Receipt, Version
from engine.transfer.context import Context


@dataclass(frozen=True, slots=True)
class _Held:
    """What a version consists of.

    Attributes:
        digest: of the version, as the source has it.
        entries: what a record tells of the list of its entries.
    """

    digest: str | None
    entries: Mapping[str, Json]

    def is_of(self, version: Version) -> bool:
        return self.digest == version.artifact.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveCollectionWriter:
    """A ``CollectionWriter``.

    Args:
        before: the record that is there.
    """

    in_order: ClassVar[bool] = False

    place: CollectionPlace
    layout: Layout
    contents: Contents
    context: Context
    addresses: Addresses
    before: Mapping[str, Json]

    async def write(self, version: Version, entries: AsyncIterator[ArtifactEntry], read: Reader) -> Receipt:
        if await self._has(version):
            return Receipt(items=1, skipped=True)
        listed, receipt = await self.contents.store(self.addresses.entries(entries), read, self.context)
        note = {"digest": version.artifact.digest, "entries": listed}
        path = self.place.arrived(version.number)
        with disk_errors(Side.DESTINATION, str(path)):
            await run_sync(self.layout.write, path, dumps(note).encode())
        return receipt

    async def _has(self, version: Version) -> bool:
        """Whether a version is there already, and sound."""
        held = await run_sync(self._held, version.number)
        # Without a digest nobody knows whether it is the same.
        if held is None or held.digest is None or not held.is_of(version):
            return False
        return await self.contents.are_sound(held.entries["sha256"])

    def _held(self, number: int) -> _Held | None:
        """What has arrived of a version, now or by an earlier transfer."""
        try:
            note = json.loads(self.place.arrived(number).read_bytes())
            return _Held(note["digest"], note["entries"])
        except (OSError, *DAMAGE):  # it is only worth having if it can be had
            told = self._versions_before().get(str(number))
            return None if told is None else _Held(told["version"]["artifact"]["digest"], told["entries"])

    def _versions_before(self) -> Mapping[str, Json]:
        versions: Mapping[str, Json] = self.before.get("versions", {})
        return versions

    async def finish(self, collection: Collection, versions: Sequence[Version]) -> Receipt:
        with disk_errors(Side.DESTINATION, str(self.place.record)):
            await run_sync(self._commit, collection, versions)
        return Receipt(items=1)

    def _commit(self, collection: Collection, versions: Sequence[Version]) -> None:
        told: dict[str, Json] = {}
        for version in versions:
            held = self._held(version.number)
            if held is not None and held.is_of(version):
                moved = plain(self.addresses.version(version))
                told[str(version.number)] = {"version": moved, "entries": held.entries}
        taken = {alias for one in told.values() for alias in one["version"]["artifact"]["aliases"]}
        # What the source has no more, or could not give this time.
        for number, kept in self._versions_before().items():
            if number not in told:
                told[number] = _without_aliases(kept, taken)
        write_record(
            self.layout,
            self.place.record,
            self.before,
            {
                COLLECTION: plain(self.addresses.collection(collection)),
                "versions": dict(sorted(told.items(), key=lambda item: int(item[0]))),
            },
        )
        shutil.rmtree(self.place.arriving, ignore_errors=True)


def _without_aliases(kept: Mapping[str, Json], taken: set[str]) -> Json:
    """A version without the aliases that others have now, as an alias names one version of a collection."""
    version = kept["version"]
    artifact = version["artifact"]
    aliases = [alias for alias in artifact["aliases"] if alias not in taken]
    return {**kept, "version": {**version, "artifact": {**artifact, "aliases": aliases}}}
