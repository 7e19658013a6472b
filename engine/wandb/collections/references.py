"""References from one version to files of another, told by the ids of this server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from engine.errors import AuthError, NotYet, Side, Unsupported
from engine.fanout import for_each
from engine.records import ArtifactEntry, Collection, Version, VersionRef
from engine.wandb import artifact_uris, documents
from engine.wandb.artifact_uris import SCHEME, Reference
from engine.wandb.collections.place import Place
from engine.wandb.collections.placeholders import TOGETHER
from engine.wandb.collections.version_ids import VersionIds
from engine.wandb.names import artifact_name
from engine.wandb.own_ids import FindPlace, OwnIds
from engine.wandb.reading.artifacts import id_of
from engine.wandb.reading.client_ids import all_mapped

GONE: Final = "gone-wandb-artifact://"
"""How a reference begins whose target is not at the destination, lest it be taken for one of its own."""


@dataclass(slots=True)
class References:
    """Translates the references of the versions of one collection.

    Attributes:
        target: where a project of the source goes; None if it is not moved.
        own: the client ids that runs here have for those of the source.
    """

    place: Place
    target: FindPlace
    ids: VersionIds
    own: OwnIds

    async def translated(self, entries: AsyncIterator[ArtifactEntry]) -> AsyncIterator[ArtifactEntry]:
        """The same entries; references to other versions with the ids that those have here.

        Raises:
            NotYet: a version that is to come is not here.
        """
        async for entry in entries:
            if entry.ref is not None and entry.ref.startswith(SCHEME):
                yield replace(entry, ref=await self._here(entry.path, entry.ref))
            else:
                yield entry

    async def _here(self, path: str, ref: str) -> str:
        reference = Reference.of(ref)
        home = self.target(reference.namespace) if reference is not None else None
        if reference is None or home is None:
            self.place.context.lose(
                "reference_unresolved", self.place.subject, f"{path!r} refers to {ref}, which is not moved"
            )
            return GONE + ref.removeprefix(SCHEME)
        version = VersionRef(home, artifact_name(reference.name), reference.number)
        return artifact_uris.of_id(await self._id(version), reference.path)

    async def _id(self, version: VersionRef) -> str:
        found = await self.ids.find(version)
        if found is None:
            raise NotYet(
                f"it refers to {version}, which has not arrived",
                side=Side.DESTINATION,
                subject=self.place.subject,
                remedy="run the same command again when that has arrived",
            )
        return found

    # -- client ids ------------------------------------------------------------------------------

    async def unknown(self, collection: Collection) -> list[str]:
        """The ids by which runs here speak of a collection that this server does not understand yet."""
        home = collection.namespace
        return await self._unknown(await self.own.of(collection.client_ids, collection.spoken_in, home))

    async def _unknown(self, client_ids: Sequence[str]) -> list[str]:
        known = await all_mapped(self.place.client, client_ids)
        return [client_id for client_id, server_id in known.items() if not server_id]

    async def record_client_ids(self, pairs: Sequence[tuple[Version, Version]]) -> None:
        """Make this server understand what rows and summaries say of versions.

        Args:
            pairs: a version of the source, and what it is here.
        """
        wanted = {
            client_id: id_of(found.artifact)
            for one, found in pairs
            for client_id in await self.own.of(one.client_ids, one.spoken_in, one.artifact.namespace)
        }
        await for_each(
            await self._unknown(list(wanted)),
            lambda client_id: self._record(client_id, wanted[client_id]),
            limit=TOGETHER,
        )

    def lose_client_ids(self, client_ids: Sequence[str]) -> None:
        """Record that rows speak of the collection by ids that this server will not understand."""
        if client_ids:
            self.place.context.lose(
                "reference_unresolved",
                self.place.subject,
                "rows speak of its latest version by client ids, of which each version can bring one",
                len(client_ids),
            )

    async def _record(self, client_id: str, version_id: str) -> None:
        try:
            await self.place.client.graphql(
                documents.MAP_CLIENT_ID,
                {"clientID": client_id, "serverID": version_id},
                self.place.subject,
            )
        except (Unsupported, AuthError) as error:
            if error.status == 401:
                raise
            self.place.context.lose(
                "reference_unresolved",
                self.place.subject,
                f"rows speak of it by a client id that this server does not take: {error.message}",
            )
