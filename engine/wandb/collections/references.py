"""References from one version to files of another, told by the ids of this server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from engine.errors import NotYet, Side
from engine.records import ArtifactEntry, Namespace
from engine.wandb import artifact_uris, documents
from engine.wandb.artifact_uris import SCHEME, Reference
from engine.wandb.collections.place import Place
from engine.wandb.names import artifact_name

GONE: Final = "gone-wandb-artifact://"
"""How a reference begins whose target is not at the destination, lest it be taken for one of its own."""

FindPlace: TypeAlias = Callable[[Namespace], Namespace | None]


@dataclass(slots=True)
class References:
    """Translates the references of the versions of one collection.

    Attributes:
        target: where a project of the source goes; None if it is not moved.
    """

    place: Place
    target: FindPlace
    _ids: dict[tuple[Namespace, str], str] = field(default_factory=dict)

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
        return artifact_uris.of_id(await self._id(home, reference), reference.path)

    async def _id(self, home: Namespace, reference: Reference) -> str:
        key = home, f"{artifact_name(reference.name)}:v{reference.number}"
        if key not in self._ids:
            data = await self.place.client.graphql(
                documents.VERSION_ID,
                {"entity": home.entity, "project": home.project, "name": key[1]},
                self.place.subject,
            )
            found = (data.get("project") or {}).get("artifactCollectionMembership")
            if found is None or found.get("artifact") is None:
                raise NotYet(
                    f"it refers to {reference.version} of {reference.namespace}, which has not arrived",
                    side=Side.DESTINATION,
                    subject=self.place.subject,
                    remedy="run the same command again when that has arrived",
                )
            self._ids[key] = found["artifact"]["id"]
        return self._ids[key]
