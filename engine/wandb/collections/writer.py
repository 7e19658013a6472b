"""One collection being written: each version gets the number that it had."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Self

from engine.errors import Conflict, IntegrityError, NeedsRecreation, Side
from engine.protocols import Reader
from engine.records import ArtifactEntry, Collection, Receipt, Version
from engine.wandb import documents
from engine.wandb.collections import placeholders
from engine.wandb.collections.facts import Facts
from engine.wandb.collections.lineage import FindRun, Lineage, runs_of
from engine.wandb.collections.numbers import Numbers, other_owner
from engine.wandb.collections.place import Place
from engine.wandb.collections.placeholders import PlaceholderRun, is_placeholder
from engine.wandb.collections.references import References
from engine.wandb.collections.version_ids import VersionIds
from engine.wandb.digests import artifact_digest
from engine.wandb.own_ids import FindPlace, OwnIds
from engine.wandb.reading.artifacts import id_of
from engine.wandb.reading.collections import SEQUENCE, Holding
from engine.wandb.reading.uses import with_uses
from engine.wandb.versions.manifest import Entry
from engine.wandb.versions.staging import Staging

_RENAME: Final = "bring it to another project or under another name; links are never deleted"
_REMEDY: Final = (
    "nothing at the destination is deleted; bring the collection to another project or under another name, "
    "or let --recreate delete what is there and make it anew"
)


@dataclass(slots=True)
class SequenceWriter:
    """See ``engine.protocols.CollectionWriter``; ``open`` makes one.

    Attributes:
        sequence_ids: client ids of the collection that this server does not understand yet.
        recreate: whether a collection in which a version cannot have its number may be deleted.
    """

    in_order: ClassVar[bool] = True

    place: Place
    numbers: Numbers
    facts: Facts
    lineage: Lineage
    references: References
    run: PlaceholderRun
    recreate: bool = False
    sequence_ids: list[str] = field(default_factory=list)

    @classmethod
    async def open(
        cls,
        place: Place,
        origin: str,
        find: FindRun,
        target: FindPlace,
        own: OwnIds,
        collection: Collection,
        *,
        recreate: bool = False,
    ) -> Self:
        """
        Raises:
            Conflict: something else has the name of the collection.
            NeedsRecreation: something has that may be deleted.
        """
        found = await place.holding()
        if found is not None and (other := other_owner(place, found)) is not None:
            told = f"its name belongs to {other}"
            if found.kind != SEQUENCE:
                raise Conflict(told, side=Side.DESTINATION, subject=place.subject, remedy=_RENAME)
            raise _conflict(told, place.subject, recreate=recreate)
        writer = cls(
            place=place,
            numbers=Numbers.of(place, origin, found),
            facts=Facts(place),
            lineage=Lineage(place, find),
            references=References(place, target, VersionIds(place.client), own),
            run=PlaceholderRun(place),
            recreate=recreate,
        )
        writer.sequence_ids = await writer.references.unknown(collection)
        return writer

    # -- versions --------------------------------------------------------------------------------

    async def write(self, version: Version, entries: AsyncIterator[ArtifactEntry], read: Reader) -> Receipt:
        if await self.numbers.has(version):
            return Receipt(items=1, skipped=True)
        if (why := self.numbers.obstacle(version)) is not None:
            raise self._number_is_gone(version, why)
        subject = self._subject(version)
        place = self.place
        async with Staging.open(place.context, place.uploader.lanes, place.multipart, subject) as staging:
            told: dict[str, str] = {}
            here = self.references.translated(self._watched(entries, told))
            staged = await staging.collect(here, read)
            self._check_digest(version, told, staged)
            await self._fill_up_to(version)
            maker = await self.lineage.maker(version)
            if maker is None:
                maker = await self.run.name()
                self._declare_orphan(version)
            self.facts.declare(version)
            sizes = [entry.size or 0 for entry in staged if entry.ref is None]
            made = await place.make(
                {**self.facts.of_new(version), **self._sequence_client_id()},
                maker,
                staged,
                self.numbers.client_id(version),
            )
        self.numbers.next = made.number + 1
        if made.number != version.number:
            await place.delete(made.id)
            raise self._number_is_gone(version, f"the server gave it {made.number}")
        return Receipt(items=1, files=len(sizes), bytes=sum(sizes))

    def _number_is_gone(self, version: Version, why: str) -> Conflict | NeedsRecreation:
        told = f"the version cannot have its number {version.number}: {why}"
        return _conflict(told, self._subject(version), recreate=self.recreate)

    def _subject(self, version: Version) -> str:
        return f"{self.place.subject}:v{version.number}"

    def _sequence_client_id(self) -> dict[str, str]:
        """The next of the client ids of the collection: it can be told one with each version."""
        return {"sequenceClientID": self.sequence_ids.pop()} if self.sequence_ids else {}

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

    async def _fill_up_to(self, version: Version) -> None:
        """Use up the numbers before this one that the source has no versions for.

        Raises:
            Conflict, NeedsRecreation: the server gives higher ones.
        """
        numbers = self.numbers
        while numbers.next < version.number:
            missing = range(numbers.next, version.number)
            made = await placeholders.fill(self.place, await self.run.name(), missing)
            numbers.next = max(one.number for one in made) + 1
        if numbers.next > version.number:
            raise self._number_is_gone(
                version,
                f"the server goes on with {numbers.next}, because later ones were there and were deleted",
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
        now = Numbers.of(self.place, self.numbers.origin, found)
        if not all([await now.has(one) for one in arrived]):
            return  # others have a collection of that name, and it is theirs to say what it is
        await self.facts.update_collection(collection, found)
        await self.facts.update_versions(arrived, real)
        await self.references.record_client_ids([(one, real[one.number]) for one in arrived])
        self.references.lose_client_ids(self.sequence_ids)
        await self.lineage.prepare(runs_of(arrived))
        if any(one.used_as for one in arrived):
            # Where the server does not tell names, each is told to it again.
            named = await with_uses(self.place.client, replace(found, versions=real))
            real = real if named is None else named.versions
        for version in arrived:
            await self.lineage.record_uses(version, real[version.number])


def _conflict(why: str, subject: str, *, recreate: bool) -> Conflict | NeedsRecreation:
    if recreate:
        return NeedsRecreation(why, side=Side.DESTINATION, subject=subject)
    return Conflict(why, side=Side.DESTINATION, subject=subject, remedy=_REMEDY)


async def delete_sequence(place: Place) -> None:
    """Delete a sequence, also one of another type, with all that was left behind when it was written.

    Raises:
        Conflict: it became a collection of links meanwhile.
    """
    found = await place.holding()
    if found is None:
        return
    if found.kind != SEQUENCE:
        raise Conflict(
            "its name belongs to a collection of links", side=Side.DESTINATION, subject=place.subject
        )
    run = PlaceholderRun(place)
    await run.find()
    await run.remove()
    await place.client.graphql(documents.DELETE_SEQUENCE, {"id": found.id}, place.subject)
    place.context.lose(
        "collection_recreated", place.subject, f"{len(found.versions)} versions that were there were deleted"
    )
