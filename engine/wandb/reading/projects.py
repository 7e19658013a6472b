"""Projects of an entity."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing

from engine.errors import ConfigError
from engine.records import Json, Namespace, Project
from engine.wandb.client import Identity, WandbClient
from engine.wandb.documents import ENTITY
from engine.wandb.reading import documents
from engine.wandb.reading.pages import pages
from engine.wandb.reading.values import milliseconds

PER_PAGE = 200


def project_of(node: Mapping[str, Json]) -> Project:
    """A node of a list of projects."""
    return Project(
        namespace=Namespace(node["entityName"], node["name"]),
        id=node["id"],
        description=node.get("description") or None,
        created_at=milliseconds(node["createdAt"]),
    )


async def find_project(client: WandbClient, entity: str, name: str) -> Project:
    """One project.

    Raises:
        ConfigError: there is none of this name.
    """
    data = await client.graphql(
        documents.PROJECT, {"entity": entity, "project": name}, f"project {entity}/{name}"
    )
    if (node := data.get("project")) is None:
        raise ConfigError(
            f"there is no project {entity}/{name}, or it is not open to you",
            side=client.side,
            remedy="check its spelling, and whose key is used",
        )
    return project_of(node)


async def list_projects(client: WandbClient, identity: Identity, entity: str) -> list[Project]:
    """All projects of an entity, the oldest first.

    Raises:
        ConfigError: there is no such entity.
    """
    subject = f"projects of {entity}"
    found: dict[Namespace, Project] = {}
    variables = {"entity": entity, "perPage": PER_PAGE}
    listing = pages(client, documents.PROJECTS, variables, lambda data: data.get("models"), subject)
    async with aclosing(listing) as listed:
        async for page in listed:
            for node in page:
                project = project_of(node)
                found.setdefault(project.namespace, project)
    if not found and entity not in identity.entities:
        data = await client.graphql(ENTITY, {"name": entity}, f"entity {entity}")
        if data.get("entity") is None:
            raise ConfigError(
                f"the entity {entity!r} does not exist or is not open to you",
                side=client.side,
                remedy=f"entities that you surely may read: {', '.join(identity.entities) or 'none'}",
            )
    return sorted(found.values(), key=lambda project: (project.created_at or 0, project.namespace))
