"""Registries: projects of an organisation's own entity that hold portfolios only.

Source: ``RegistryFragment`` in ``wandb/sdk/artifacts/_generated/operations.py`` of the SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from engine.errors import NotFound, Unsupported
from engine.records import Json, Namespace, Registry
from engine.wandb.client import WandbClient
from engine.wandb.reading import documents
from engine.wandb.reading.pages import pages

PREFIX: Final = "wandb-registry-"
"""How the names of those projects of an organisation begin that are registries."""

TYPES_PER_PAGE: Final = 100


def organization_entities(data: Json) -> dict[str, str]:
    """The answer to ``documents.ORGANIZATIONS``: by the names of organisations, what has their registries."""
    entity = data.get("entity") or {}
    own = [entity["organization"]] if entity.get("organization") else []
    others = (entity.get("user") or {}).get("organizations") or []
    return {one["name"]: one["orgEntity"]["name"] for one in own or others if one.get("orgEntity")}


async def read_registry(client: WandbClient, namespace: Namespace) -> Registry | None:
    """What is said of a registry; None if it is not there, or nothing of this server can be one."""
    told: list[Mapping[str, Json]] = []

    def types_in(data: Json) -> Mapping[str, Json] | None:
        if (project := data.get("project")) is None:
            return None
        told.append(project)
        found: Mapping[str, Json] = project["artifactTypes"]
        return found

    variables = {"entity": namespace.entity, "project": namespace.project, "perPage": TYPES_PER_PAGE}
    found = pages(client, documents.REGISTRY, variables, types_in, f"registry {namespace}")
    types: set[str] = set()
    try:
        async with aclosing(found) as listed:
            async for page in listed:
                types.update(node["name"] for node in page)
    except (NotFound, Unsupported):
        return None
    head = told[0]
    return Registry(
        namespace=namespace,
        description=head.get("description") or None,
        access=head.get("access"),
        types=None if head["allowAllArtifactTypesInRegistry"] else tuple(sorted(types)),
    )


@dataclass(slots=True)
class Registries:
    """Those of one server; each is asked for once."""

    client: WandbClient
    _known: dict[Namespace, Registry | None] = field(default_factory=dict)

    async def of(self, namespace: Namespace) -> Registry | None:
        """The registry that a project is; None if it is none."""
        if not namespace.project.startswith(PREFIX):
            return None
        if namespace not in self._known:
            self._known[namespace] = await read_registry(self.client, namespace)
        return self._known[namespace]
