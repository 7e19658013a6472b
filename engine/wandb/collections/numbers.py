"""Which numbers of a collection are taken, and whether versions can still have theirs.

The server gives each new version the number after the highest it ever gave, also after those that were
deleted, so that a version cannot come to a number that something else has, or had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.errors import Problem, Side
from engine.records import Version
from engine.wandb.collections.place import Place, client_id_of
from engine.wandb.collections.placeholders import is_placeholder
from engine.wandb.reading.artifacts import id_of
from engine.wandb.reading.client_ids import mapped
from engine.wandb.reading.collections import SEQUENCE, Holding


@dataclass(slots=True)
class Numbers:
    """The numbers of one place.

    Attributes:
        origin: tells this migration from others, for ids that are made from it.
        there: the versions by number; placeholders too.
        next: the number that the next version is going to have, unless later ones were deleted.
    """

    place: Place
    origin: str
    there: dict[int, Version] = field(default_factory=dict)
    next: int = 0

    @classmethod
    def of(cls, place: Place, origin: str, found: Holding | None) -> Numbers:
        there = {} if found is None else dict(found.versions)
        return cls(place, origin, there, max(there, default=-1) + 1)

    def client_id(self, version: Version) -> str:
        """The same for each attempt to bring this content under this number to this place."""
        home = self.place.namespace.path, self.place.name
        artifact = version.artifact
        return client_id_of(
            self.origin, artifact.namespace.path, *home, str(version.number), artifact.digest or ""
        )

    async def has(self, version: Version) -> bool:
        """Whether it is there already; asks about one whose digest became another on its way."""
        found = self.there.get(version.number)
        if found is None or is_placeholder(found):
            return False
        # A source that changes references on their way cannot tell the digest.
        if version.artifact.digest in (None, found.artifact.digest):
            return True
        client_id = self.client_id(version)
        brought = (await mapped(self.place.client, [client_id]))[client_id]
        return bool(brought) and brought == id_of(found.artifact)

    def obstacle(self, version: Version) -> str | None:
        """Why a version that is not there cannot have its number; None if it can, as far as can be seen."""
        found = self.there.get(version.number)
        if found is not None and is_placeholder(found):
            return "it went to a placeholder when the version could not be read"
        if found is not None:
            return "another version has it"
        if version.number < self.next:
            return "it belonged to a version that was deleted there"
        return None

    async def obstacles(self, versions: Sequence[Version]) -> list[tuple[Version, str]]:
        """Those of a whole collection that cannot have their numbers, and why."""
        missing = [version for version in versions if not await self.has(version)]
        return [(version, why) for version in missing if (why := self.obstacle(version)) is not None]


async def foretell(
    place: Place, origin: str, versions: Sequence[Version], *, recreate: bool
) -> Problem | None:
    """What stands in the way of a collection, or would be deleted so that nothing does; reads only."""
    found = await place.holding()
    if found is None:
        return None
    if (other := other_owner(place, found)) is not None:
        told, can_go = f"its name belongs to {other}", found.kind == SEQUENCE
    else:
        obstacles = await Numbers.of(place, origin, found).obstacles(versions)
        if not obstacles:
            return None
        (first, why), can_go = obstacles[0], True
        more = f", and so for {len(obstacles) - 1} more" if len(obstacles) > 1 else ""
        told = f"v{first.number} cannot have its number: {why}{more}"
    deleted = recreate and can_go
    return Problem(
        kind="collection_recreated" if deleted else "collection_conflict",
        message=f"what is there would be deleted ({len(found.versions)} versions): {told}"
        if deleted
        else told,
        side=Side.DESTINATION,
        subject=place.subject,
        remedy=None if deleted or not can_go else "--recreate would delete what is there and make it anew",
    )


def other_owner(place: Place, found: Holding) -> str | None:
    """What has the name of a collection in its place; None if that is the collection itself."""
    if found.kind != SEQUENCE:
        return "a collection of links"
    if found.collection.type != place.type:
        return f"a collection of type {found.collection.type!r}, not {place.type!r}"
    return None
