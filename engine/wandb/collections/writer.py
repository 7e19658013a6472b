"""One collection being written: each version gets the number that it had."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from engine.errors import Conflict, IntegrityError, Side
from engine.protocols import Reader
from engine.records import ArtifactEntry, Collection, Receipt, Version
from engine.wandb.collections import placeholders
from engine.wandb.collections.facts import Facts
from engine.wandb.collections.lineage import FindRun, Lineage, runs_of
from engine.wandb.collections.place import Place, client_id_of
from engine.wandb.collections.placeholders import PlaceholderRun, is_placeholder
from engine.wandb.collections.references import FindPlace, References
from engine.wandb.digests import artifact_digest
from engine.wandb.manifest import Entry
from engine.wandb.reading.artifacts import id_of
from engine.wandb.reading.collections import SEQUENCE, Holding
from engine.wandb.staging import Staging

_REMEDY = (
    "nothing at the destination is deleted; bring the collection to another project or under another name, "
    "or delete it there and run the same command again"
)


@dataclass(slots=True)
class SequenceWriter:
    """See ``engine.protocols.CollectionWriter``; ``open`` makes one.

    Attributes:
        origin: tells this migration from others, for ids that are made from it.
        there: what the destination has, by number; placeholders too.
        sequence_ids: client ids of the collection that this server does not understand yet.
        next: the number that the next version is going to have, unless later ones were deleted.
    """

    place: Place
    origin: str
    facts: Facts
    lineage: Lineage
    references: References
    run: PlaceholderRun
    sequence_ids: list[str] = field(default_factory=list)
    there: dict[int, Version] = field(default_factory=dict)
    next: int = 0

    @classmethod
    async def open(
        cls, place: Place, origin: str, find: FindRun, target: FindPlace, collection: Collection
    ) -> Self:
        """
        Raises:
            Conflict: something else has the name of the collection.
        """
        writer = cls(
            place=place,
            origin=origin,
            facts=Facts(place),
            lineage=Lineage(place, find),
            references=References(place, target),
            run=PlaceholderRun(place),
        )
        writer.sequence_ids = await writer.references.unknown(collection.client_ids)
        found = await place.holding()
        if found is not None:
            writer._take_over(found)
        return writer

    def _take_over(self, found: Holding) -> None:
        other = None
        if found.kind != SEQUENCE:
            other = "a collection of links"
        elif found.collection.type != self.place.type:
            other = f"a collection of type {found.collection.type!r}, not {self.place.type!r}"
        if other is not None:
            raise Conflict(
                f"its name belongs to {other}",
                side=Side.DESTINATION,
                subject=self.place.subject,
                remedy=_REMEDY,
            )
        self.there = dict(found.versions)
        self.next = max(self.there, default=-1) + 1

    # -- versions --------------------------------------------------------------------------------

    async def write(self, version: Version, entries: AsyncIterator[ArtifactEntry], read: Reader) -> Receipt:
        if self._has(version):
            return Receipt(items=1, skipped=True)
        subject = self._subject(version)
        place = self.place
        async with Staging.open(place.context, place.uploader.lanes, place.multipart, subject) as staging:
            told: dict[str, str] = {}
            here = self.references.translated(self._watched(entries, told))
            staged = await staging.collect(here, read)
            self._check_digest(version, told, staged)
            await self._fill_up_to(version.number)
            maker = await self.lineage.maker(version)
            if maker is None:
                maker = await self.run.name()
                self._declare_orphan(version)
            self.facts.declare(version)
            sizes = [entry.size or 0 for entry in staged if entry.ref is None]
            made = await place.make(
                {**self.facts.of_new(version), **self._sequence_id()},
                maker,
                staged,
                self._client_id(version),
            )
        self.next = made.number + 1
        if made.number != version.number:
            await place.delete(made.id)
            raise self._number_is_gone(version, f"the server gave it {made.number}")
        return Receipt(items=1, files=len(sizes), bytes=sum(sizes))

    def _has(self, version: Version) -> bool:
        """Whether it is there already.

        Raises:
            Conflict: another one is in its place, or none can be any more.
        """
        found = self.there.get(version.number)
        if found is None:
            if version.number < self.next:
                raise self._number_is_gone(version, "it belonged to a version that was deleted there")
            return False
        # A source that changes references on their way cannot tell the digest.
        if version.artifact.digest in (None, found.artifact.digest) and not is_placeholder(found):
            return True
        raise self._number_is_gone(
            version,
            "it went to a placeholder when the version could not be read"
            if is_placeholder(found)
            else "another version has it",
        )

    def _number_is_gone(self, version: Version, why: str) -> Conflict:
        return Conflict(
            f"the version cannot have its number {version.number}: {why}",
            side=Side.DESTINATION,
            subject=self._subject(version),
            remedy=_REMEDY,
        )

    def _subject(self, version: Version) -> str:
        return f"{self.place.subject}:v{version.number}"

    def _sequence_id(self) -> dict[str, str]:
        """The next of the client ids of the collection: it can be told one with each version."""
        return {"sequenceClientID": self.sequence_ids.pop()} if self.sequence_ids else {}

    def _client_id(self, version: Version) -> str:
        """The same for each attempt to bring a version to this place."""
        home = self.place.namespace.path, self.place.name
        return client_id_of(self.origin, version.artifact.namespace.path, *home, str(version.number))

    async def _watched(
        self, entries: AsyncIterator[ArtifactEntry], told: dict[str, str]
    ) -> AsyncIterator[ArtifactEntry]:
        async for entry in entries:
            # Of other algorithms than MD5 no digest is told that could be compared.
            told[entry.path] = entry.digest or entry.md5 or "" if "alg" not in entry.extra else ""
            yield entry

    def _check_digest(self, version: Version, told: dict[str, str], staged: Sequence[Entry]) -> None:
        """Whether what is about to be sent is what the source says that it has.

        Raises:
            IntegrityError: it is not.
        """
        digest = artifact_digest((entry.path, entry.digest) for entry in staged)
        if version.artifact.digest in (None, digest):
            return
        if "" not in told.values() and artifact_digest(told.items()) != version.artifact.digest:
            raise IntegrityError(
                f"the digest of the version is {version.artifact.digest}, that of its entries is another",
                side=Side.SOURCE,
                subject=self._subject(version),
                remedy="ask those who run the source: its manifest is not the one that was committed",
            )
        # Why is told with the entries.
        self.place.context.lose("digest_changed", self._subject(version), f"became {digest}")

    async def _fill_up_to(self, number: int) -> None:
        """Use up the numbers before this one that the source has no versions for.

        Raises:
            Conflict: the server gives higher ones.
        """
        while self.next < number:
            made = await placeholders.fill(self.place, await self.run.name(), range(self.next, number))
            self.next = max(made) + 1
        if self.next > number:
            raise Conflict(
                f"version {number} cannot have its number: the server goes on with {self.next}, because "
                "later ones were there and were deleted",
                side=Side.DESTINATION,
                subject=self.place.subject,
                remedy=_REMEDY,
            )

    def _declare_orphan(self, version: Version) -> None:
        made_by = version.made_by
        who = "a person" if made_by is None else f"run {made_by.id} of {made_by.namespace}"
        self.place.context.lose(
            "producer_missing", self._subject(version), f"made by {who}, not at the destination"
        )

    # -- the end ---------------------------------------------------------------------------------

    async def finish(self, collection: Collection, versions: Sequence[Version]) -> Receipt:
        found = await self.place.holding()
        if found is not None:
            await self._finish(found, collection, versions)
        await self._remove_run(versions)
        return Receipt(items=1)

    async def _remove_run(self, versions: Sequence[Version]) -> None:
        """Delete the run that logged what no other could, also one of a transfer that was killed."""
        has_gaps = len(versions) <= max((one.number for one in versions), default=-1)
        if has_gaps or any([await self.lineage.maker(one) is None for one in versions]):
            await self.run.find()
        await self.run.remove()

    async def _finish(self, found: Holding, collection: Collection, versions: Sequence[Version]) -> None:
        real = {number: one for number, one in found.versions.items() if not is_placeholder(one)}
        # Those above all others still keep numbers for versions that could not be written yet.
        spent = [one for number, one in found.versions.items() if number < max(real, default=0)]
        await placeholders.remove(self.place, [id_of(one.artifact) for one in spent if is_placeholder(one)])
        arrived = [one for one in versions if one.number in real]
        await self.facts.update_collection(collection, found)
        await self.facts.update_versions(arrived, real)
        await self.references.record_client_ids([(one, real[one.number]) for one in arrived])
        self.references.lose_client_ids(self.sequence_ids)
        await self.lineage.prepare(runs_of(arrived))
        for version in arrived:
            await self.lineage.record_uses(version, real[version.number])
