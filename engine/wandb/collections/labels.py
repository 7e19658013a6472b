"""What a collection says of itself and calls its members, brought to what the source says now.

Only differences are sent. An alias names one member of a collection, so that those that move are given to
their member, and only those that nobody has at the source are taken away, like ``latest`` that the server
gives by itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from engine.records import Collection, Json, Namespace
from engine.wandb import documents
from engine.wandb.client import WandbClient
from engine.wandb.jsontext import clean_text
from engine.wandb.reading.collections import SEQUENCE

TAGS_AT_ONCE = 20
"""Tags of a collection in one request (``createArtifactCollectionTagAssignments``)."""

_UPDATES: Final[Mapping[bool, str]] = {
    True: documents.UPDATE_SEQUENCE,
    False: documents.UPDATE_PORTFOLIO,
}


class Member(NamedTuple):
    """A version in a collection.

    Attributes:
        id: of the version, at this server.
    """

    id: str
    aliases: Sequence[str]


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one collection and of its members."""

    client: WandbClient
    namespace: Namespace
    name: str
    subject: str

    async def move_aliases(self, owners: Mapping[str, Hashable], members: Mapping[Hashable, Member]) -> None:
        """Give each alias to its owner, and take those away from these members that nobody is to have."""
        for key, member in members.items():
            wanted = {alias for alias, owner in owners.items() if owner == key}
            if added := sorted(wanted - {*member.aliases}):
                await self._send(documents.ADD_ALIASES, self._aliases(member, added))
            if removed := [alias for alias in member.aliases if alias not in owners]:
                await self._send(documents.DELETE_ALIASES, self._aliases(member, removed))

    def _aliases(self, member: Member, aliases: Sequence[str]) -> dict[str, Json]:
        home = {
            "artifactCollectionName": self.name,
            "entityName": self.namespace.entity,
            "projectName": self.namespace.project,
        }
        return {"id": member.id, "aliases": [{"alias": alias, **home} for alias in aliases]}

    async def describe(
        self, wanted: Collection, found: Collection, kind: str, *, shared: bool = False
    ) -> None:
        """Make description and tags what is wanted.

        Args:
            found: what is said of it now, with its id as the locator.
            kind: the name of its type in the protocol.
            shared: others have a part in it: nothing of theirs is taken away.
        """
        description = clean_text(wanted.description or "")
        if description != (found.description or "") and not (shared and found.description):
            await self._send(_UPDATES[kind == SEQUENCE], {"id": found.locator, "description": description})
        if "ARTIFACT_TAGS" not in self.client.features:
            return
        await self._tag(documents.ADD_COLLECTION_TAGS, {*wanted.tags} - {*found.tags})
        if not shared:
            await self._tag(documents.DELETE_COLLECTION_TAGS, {*found.tags} - {*wanted.tags})

    async def _tag(self, document: str, tags: set[str]) -> None:
        where = {"entity": self.namespace.entity, "project": self.namespace.project, "name": self.name}
        ordered = sorted(tags)
        for start in range(0, len(ordered), TAGS_AT_ONCE):
            some = ordered[start : start + TAGS_AT_ONCE]
            await self._send(document, {**where, "tags": tag_inputs(some)})

    async def _send(self, document: str, variables: Mapping[str, Json]) -> None:
        await self.client.graphql(document, variables, self.subject)


def tag_inputs(tags: Sequence[str]) -> list[Json]:
    return [{"tagName": tag} for tag in tags]
