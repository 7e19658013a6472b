"""Where portfolios go: those of a project with it, those of a registry to the registry of the same name.

Registries are projects of an organisation's own entity. Which organisation that is at the destination follows
from the entity that everything goes to; who is in several has to say which is meant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from engine.errors import ConfigError, NotFound, Side
from engine.records import Json, Namespace
from engine.wandb import documents
from engine.wandb.client import WandbClient
from engine.wandb.reading.portfolios import REGISTRY

_HOW = "say where it goes with --remap {source}=ENTITY/PROJECT"


@dataclass(slots=True)
class PortfolioPlaces:
    """Finds the places of portfolios.

    Attributes:
        entity: that everything goes to.
        told: where a project goes, because it is moved or because the user said so.
    """

    client: WandbClient
    entity: str
    told: Callable[[Namespace], Namespace | None]
    _organization: str | None = field(default=None)

    async def of(self, source: Namespace) -> Namespace | None:
        """The project at the destination; None if nothing is known of it there.

        Raises:
            ConfigError, NotFound: it is a registry, and the organisation cannot be told.
        """
        if (place := self.told(source)) is not None:
            return place
        if not source.project.startswith(REGISTRY):
            return None
        return Namespace(await self._entity_of_organization(source), source.project)

    async def _entity_of_organization(self, source: Namespace) -> str:
        if self._organization is None:
            self._organization = await self._asked(source)
        return self._organization

    async def _asked(self, source: Namespace) -> str:
        subject = f"registry {source}"
        data = await self.client.graphql(documents.ORGANIZATIONS, {"entity": self.entity}, subject)
        found = organization_entities(data)
        remedy = _HOW.format(source=source)
        if not found:
            raise NotFound(
                f"{self.entity!r} belongs to no organisation, whose registries could take it",
                side=Side.DESTINATION,
                subject=subject,
                remedy=remedy,
            )
        if len(found) > 1:
            raise ConfigError(
                f"{self.entity!r} belongs to several organisations: {', '.join(sorted(found))}",
                side=Side.DESTINATION,
                subject=subject,
                remedy=f"{remedy}; the entities of their registries: {', '.join(sorted(found.values()))}",
            )
        return next(iter(found.values()))


def organization_entities(data: Json) -> dict[str, str]:
    """The answer to ``documents.ORGANIZATIONS``: by the names of organisations, what has their registries."""
    entity = data.get("entity") or {}
    own = [entity["organization"]] if entity.get("organization") else []
    others = (entity.get("user") or {}).get("organizations") or []
    return {one["name"]: one["orgEntity"]["name"] for one in own or others if one.get("orgEntity")}
