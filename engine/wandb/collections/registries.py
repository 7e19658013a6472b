"""Where portfolios go: those of a project with it, those of a registry to the registry of the same name.

Registries are projects of an organisation's own entity. Which organisation that is at the destination follows
from the entity that everything goes to; who is in several has to say which is meant. A registry that is not
there is made as the source has it; one that is there belongs to its organisation, and stays as it is.

Source: ``Registry.create`` in ``wandb/apis/public/registries/registry.py`` of the SDK.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from engine.errors import AuthError, ConfigError, NotFound, Problem, Side, Unsupported
from engine.fanout import KeyedLocks
from engine.records import Json, Namespace, Registry
from engine.wandb import documents
from engine.wandb.client import WandbClient
from engine.wandb.reading.registries import PREFIX, organization_entities

CREATION: Final = "INCLUDE_ARTIFACT_TYPES_IN_REGISTRY_CREATION"
"""Without this feature no client can make a registry, see ``Api.create_registry`` of the SDK."""

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
        if not source.project.startswith(PREFIX):
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


@dataclass(slots=True)
class RegistryMaker:
    """Makes those registries that are missing; each is looked for once."""

    client: WandbClient
    _there: set[Namespace] = field(default_factory=set)
    _refused: dict[Namespace, str] = field(default_factory=dict)
    _locks: KeyedLocks = field(default_factory=KeyedLocks)

    async def ensure(self, place: Namespace, registry: Registry) -> None:
        """Make a registry like one of the source, unless there is one.

        Raises:
            NotFound: it is not there, and cannot be made; the error says why.
        """
        async with self._locks.hold(place):
            if place not in self._there and place not in self._refused:
                await self._make(place, registry)
        if (why := self._refused.get(place)) is not None:
            raise NotFound(
                f"the registry {place} is not there, or not open to you, and cannot be created: {why}",
                side=self.client.side,
                subject=f"registry {place}",
                remedy="create it, or ask an administrator of the organisation for that or for access to it, "
                "then run the same command again",
            )

    async def foretell(self, place: Namespace) -> Problem | None:
        """What ``ensure`` would do, as far as can be seen; None if the registry is there."""
        async with self._locks.hold(place):
            if place in self._there or await self._is_there(place):
                self._there.add(place)
                return None
        can = CREATION in self.client.features
        return Problem(
            kind="registry_created" if can else "registry_missing",
            message="it is not there, and would be created as it is at the source"
            if can
            else "it is not there, and this server lets no client create it",
            side=self.client.side,
            subject=f"registry {place}",
            remedy=None if can else "create it, or its links will fail",
        )

    async def _is_there(self, place: Namespace) -> bool:
        where = {"entity": place.entity, "project": place.project}
        found = await self.client.graphql(documents.PROJECT, where, f"registry {place}")
        return found.get("project") is not None

    async def _make(self, place: Namespace, registry: Registry) -> None:
        if await self._is_there(place):
            self._there.add(place)
        elif CREATION not in self.client.features:
            self._refused[place] = "this server lets no client do that"
        else:
            try:
                variables = {"input": _told(place, registry)}
                await self.client.graphql(documents.CREATE_REGISTRY, variables, f"registry {place}")
            except (AuthError, NotFound, Unsupported) as error:
                if error.status == 401:
                    raise
                self._refused[place] = error.message
            else:
                self._there.add(place)


def _told(place: Namespace, registry: Registry) -> dict[str, Json]:
    """What ``upsertModel`` is told of a new registry."""
    told: dict[str, Json] = {
        "entityName": place.entity,
        "name": place.project,
        "description": registry.description,
        "access": registry.access,
        "allowAllArtifactTypesInRegistry": registry.types is None,
        "artifactTypes": [{"name": name} for name in registry.types or ()],
    }
    return {name: value for name, value in told.items() if value is not None}
