"""The ids that versions have at this server."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.records import VersionRef
from engine.wandb import documents
from engine.wandb.client import WandbClient


@dataclass(slots=True)
class VersionIds:
    """Finds versions by their names; those that were found are remembered."""

    client: WandbClient
    _known: dict[VersionRef, str] = field(default_factory=dict)

    async def find(self, version: VersionRef) -> str | None:
        """None if it is not there, or not open to us."""
        if (known := self._known.get(version)) is not None:
            return known
        where = {"entity": version.namespace.entity, "project": version.namespace.project}
        name = f"{version.name}:v{version.number}"
        data = await self.client.graphql(documents.VERSION_ID, {**where, "name": name}, f"artifact {version}")
        found = (data.get("project") or {}).get("artifactCollectionMembership")
        if found is None or found.get("artifact") is None:
            return None
        version_id: str = found["artifact"]["id"]
        self._known[version] = version_id
        return version_id
