"""Artifact collections: what is said of them, their versions, and who made and used each."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from engine.records import Artifact, Collection, Json, Namespace, RunRef, Version
from engine.wandb.client import WandbClient
from engine.wandb.reading import documents
from engine.wandb.reading.artifacts import HISTORY_TYPE, artifact_of
from engine.wandb.reading.pages import pages

PER_PAGE = 100
USERS = 20
"""Users of a version that come with it; only those of a version with more are asked for."""

SEQUENCE: Final = "ArtifactSequence"


@dataclass(frozen=True, slots=True)
class Holding:
    """A collection as a server holds it now, with its versions by their numbers."""

    id: str
    kind: str
    collection: Collection
    versions: dict[int, Version] = field(default_factory=dict)


async def list_collections(client: WandbClient, namespace: Namespace) -> AsyncGenerator[Collection]:
    """The sequences of a project, without the server's own exports of histories; only name and type are told.

    Whoever writes a history elsewhere gets its exports made there.
    """
    async with aclosing(listed_collections(client, namespace)) as listed:
        async for kind, collection in listed:
            if kind == SEQUENCE and collection.type != HISTORY_TYPE:
                yield collection


async def listed_collections(
    client: WandbClient, namespace: Namespace
) -> AsyncGenerator[tuple[str, Collection]]:
    """Everything that holds versions, each with the name of its type in the protocol."""
    subject = f"collections of {namespace}"
    seen: set[str] = set()
    variables = {"entity": namespace.entity, "project": namespace.project, "perPage": PER_PAGE}
    found = pages(
        client,
        documents.COLLECTIONS,
        variables,
        lambda data: (data.get("project") or {}).get("artifactCollections"),
        subject,
    )
    async with aclosing(found) as listed:
        async for page in listed:
            for node in page:
                if node["id"] not in seen:
                    seen.add(node["id"])
                    yield node["__typename"], _collection(node, namespace)


async def read_collection(client: WandbClient, namespace: Namespace, name: str) -> Holding | None:
    """A collection with all its committed versions, None if there is none of this name."""
    subject = f"artifact collection {namespace}/{name}"
    variables = {
        "entity": namespace.entity,
        "project": namespace.project,
        "collection": name,
        "perPage": PER_PAGE,
        "users": USERS,
        "withTags": "ARTIFACT_TAGS" in client.features,
    }
    heads: list[Mapping[str, Json]] = []

    def versions_in(data: Json) -> Mapping[str, Json]:
        head = (data.get("project") or {}).get("artifactCollection")
        if head is None:
            return _NO_VERSIONS
        heads.append(head)
        return head["artifacts"] or _NO_VERSIONS

    versions: dict[int, Version] = {}
    found = pages(client, documents.COLLECTION_VERSIONS, variables, versions_in, subject)
    async with aclosing(found) as listed:
        async for page in listed:
            for node in page:
                # Only a server that is being written to tells of a version without a number.
                if node["state"] == "COMMITTED" and node["versionIndex"] is not None:
                    versions[node["versionIndex"]] = await _version(client, node)
    if not heads:
        return None
    head = heads[0]
    return Holding(head["id"], head["__typename"], described(head, namespace), dict(sorted(versions.items())))


def described(node: Mapping[str, Json], namespace: Namespace) -> Collection:
    """What is said of a collection."""
    return replace(
        _collection(node, namespace),
        description=node.get("description") or None,
        tags=tuple(sorted(edge["node"]["name"] for edge in (node.get("tags") or {}).get("edges") or ())),
    )


def _collection(node: Mapping[str, Json], namespace: Namespace) -> Collection:
    return Collection(
        namespace=namespace,
        name=node["name"],
        type=node["defaultArtifactType"]["name"],
        locator=node["id"],
    )


_NO_VERSIONS: Final[Mapping[str, Json]] = {"edges": (), "pageInfo": {"hasNextPage": False}}


async def _version(client: WandbClient, node: Mapping[str, Json]) -> Version:
    maker = node.get("createdBy") or {}
    made_by = _run(maker) if maker.get("__typename") == "Run" else None
    used = node["usedBy"]
    users = [_run(edge["node"]) for edge in used["edges"] if edge.get("node") is not None]
    if used["pageInfo"]["hasNextPage"]:
        users += await _more_users(client, node["id"], used["pageInfo"]["endCursor"])
    return Version(
        artifact=_with_ttl(artifact_of(node, made_by.id if made_by else None), node),
        made_by=made_by,
        step=node.get("historyStep"),
        used_by=tuple(sorted({user for user in users if user is not None})),
        portfolios=tuple(sorted(_portfolios(node["artifactMemberships"]), key=str)),
    )


def _portfolios(memberships: Mapping[str, Json]) -> Iterator[Collection]:
    """Where a version is linked; what may not be seen of that is nothing that could be brought."""
    for edge in memberships["edges"]:
        found = (edge.get("node") or {}).get("artifactCollection")
        if found is None or found["__typename"] == SEQUENCE or found.get("project") is None:
            continue
        home = found["project"]
        yield _collection(found, Namespace(home["entityName"], home["name"]))


def _with_ttl(artifact: Artifact, node: Mapping[str, Json]) -> Artifact:
    """A version that is kept for ever is told apart from one that is kept like the others of its team."""
    ttl = node.get("ttlDurationSeconds")
    forever = ttl is not None and ttl <= 0 and not node.get("ttlIsInherited")
    return replace(artifact, ttl_s=0) if forever else artifact


def _run(node: Mapping[str, Json]) -> RunRef | None:
    project = node.get("project")
    return (
        None if project is None else RunRef(Namespace(project["entityName"], project["name"]), node["name"])
    )


async def _more_users(client: WandbClient, version_id: str, cursor: str) -> list[RunRef | None]:
    found = pages(
        client,
        documents.USERS_OF_ARTIFACT,
        {"id": version_id, "perPage": PER_PAGE},
        lambda data: (data.get("artifact") or {}).get("usedBy"),
        f"users of artifact {version_id}",
        cursor=cursor,
    )
    async with aclosing(found) as listed:
        return [_run(node) async for page in listed for node in page]
