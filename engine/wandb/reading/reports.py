"""Sweeps, reports and saved views of a project.

Source: ``wandb/apis/public/{sweeps,reports}.py`` of the SDK, ``reports/v2/gql.py`` of wandb-workspaces.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from engine.records import Json, Namespace
from engine.reports import Sweep, View
from engine.transfer.context import Context
from engine.wandb import artifact_uris
from engine.wandb.client import WandbClient
from engine.wandb.jsontext import encode_json
from engine.wandb.names import short_hash
from engine.wandb.reading.artifacts import Names
from engine.wandb.reading.client_ids import all_mapped
from engine.wandb.reading.files import addressed
from engine.wandb.reading.pages import pages
from engine.wandb.reading.values import milliseconds, parse_object

REPORT: Final = "runs"
DRAFT: Final = "runs/draft"
SAVED_VIEW: Final = "project-view"

VIEWS_PER_PAGE: Final = 20
"""A report may have megabytes."""

SWEEPS_PER_PAGE: Final = 100

_OWN: Final = "nwuser"
"""How the names of the workspaces begin that everybody has in each project."""

_ANY: Final = """
query AnyReports($entity: String!, $project: String!) {
  project(name: $project, entityName: $entity) {
    reports: allViews(viewType: "runs", first: 1) { edges { node { id } } }
    drafts: allViews(viewType: "runs/draft", first: 1) { edges { node { id } } }
    saved: allViews(viewType: "project-view", first: 1) { edges { node { id } } }
  }
}
"""

SWEEPS: Final = """
query SweepsOfProject($entity: String!, $project: String!, $cursor: String, $perPage: Int!) {
  project(name: $project, entityName: $entity) {
    sweeps(after: $cursor, first: $perPage) {
      edges { cursor node {
        id name displayName description config state createdAt user { username }
      } }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""

VIEWS: Final = """
query ViewsOfProject(
  $entity: String!, $project: String!, $type: String!, $cursor: String, $perPage: Int!
) {
  project(name: $project, entityName: $entity) {
    allViews(viewType: $type, after: $cursor, first: $perPage) {
      edges { cursor node {
        id type name displayName description spec createdAt updatedAt parentId user { username }
      } }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""


async def kinds_of(client: WandbClient, namespace: Namespace) -> frozenset[str]:
    """Which of ``reports``, ``drafts`` and ``saved`` views a project has at all, in one request."""
    where = {"entity": namespace.entity, "project": namespace.project}
    project = (await client.graphql(_ANY, where, f"reports of {namespace}")).get("project") or {}
    return frozenset(kind for kind, found in project.items() if found and found["edges"])


async def list_sweeps(client: WandbClient, namespace: Namespace) -> AsyncGenerator[Mapping[str, Json]]:
    """The nodes of all sweeps of a project."""
    nodes = _nodes(client, SWEEPS, namespace, "sweeps", "sweeps", perPage=SWEEPS_PER_PAGE)
    async with aclosing(nodes) as listed:
        async for node in listed:
            yield node


async def _nodes(
    client: WandbClient, document: str, namespace: Namespace, field: str, what: str, **variables: Json
) -> AsyncGenerator[Mapping[str, Json]]:
    """The nodes of all pages of a field of a project; errors say ``what`` they are."""
    where = {"entity": namespace.entity, "project": namespace.project}
    found = pages(
        client,
        document,
        where | variables,
        lambda data: (data.get("project") or {}).get(field),
        f"{what} of {namespace}",
    )
    async with aclosing(found) as listed:
        async for page in listed:
            for node in page:
                yield node


def sweep_of(node: Mapping[str, Json], namespace: Namespace) -> Sweep:
    return Sweep(
        namespace=namespace,
        id=node["name"],
        config=node["config"],
        name=node.get("displayName") or None,
        description=node.get("description") or None,
        state=node.get("state"),
        user=(node.get("user") or {}).get("username"),
        created_at=milliseconds(node["createdAt"]),
    )


async def list_views(client: WandbClient, namespace: Namespace, kind: str) -> AsyncGenerator[View]:
    """The views of one kind in a project, the oldest first."""
    nodes = _nodes(client, VIEWS, namespace, "allViews", "reports", type=kind, perPage=VIEWS_PER_PAGE)
    async with aclosing(nodes) as listed:
        async for node in listed:
            yield view_of(node, namespace)


def view_of(node: Mapping[str, Json], namespace: Namespace) -> View:
    """A node of a list of views.

    Raises:
        ValueError: its spec is no JSON object.
    """
    return View(
        namespace=namespace,
        id=node["id"],
        kind=node["type"],
        # Old ones have none; what tells them apart then is their id.
        name=node.get("name") or short_hash(node["id"], 12),
        spec=parse_object(node.get("spec")),
        title=node.get("displayName"),
        description=node.get("description") or None,
        user=(node.get("user") or {}).get("username"),
        parent_id=node.get("parentId"),
        created_at=milliseconds(node["createdAt"]),
        updated_at=milliseconds(node.get("updatedAt")),
    )


async def views_to_move(client: WandbClient, context: Context, namespace: Namespace) -> AsyncGenerator[View]:
    """Reports, their drafts and saved views; what everybody has by themselves is told to be left."""
    there = await kinds_of(client, namespace)
    names = Names(client, f"reports of {namespace}")
    for name, kind in (("reports", REPORT), ("drafts", DRAFT), ("saved", SAVED_VIEW)):
        if name not in there:
            continue
        async with aclosing(list_views(client, namespace, kind)) as views:
            async for view in views:
                if kind == SAVED_VIEW and _OWN in view.name:
                    detail = (
                        f"the personal workspace of {view.user or 'somebody'}; it belongs to their account"
                    )
                    context.lose("workspace_left", f"project {namespace}", detail)
                else:
                    yield await _with_contents(client, view, names)


async def _with_contents(client: WandbClient, view: View, names: Names) -> View:
    """A view with the names of the versions that its spec has by their ids, and its files."""
    found: dict[str, str] = {}
    text = encode_json(view.spec)
    ids = {uri: artifact_uris.by_id(f"{uri}/") for uri in artifact_uris.ids_in(text)}
    asked = {uri: version[0] for uri, version in ids.items() if version is not None}
    asked |= {
        f"{artifact_uris.CLIENT}{client_id}": server_id
        for client_id, server_id in (
            await all_mapped(client, artifact_uris.version_client_ids_in(text))
        ).items()
        if server_id
    }
    for uri, version_id in sorted(asked.items()):
        if (reference := await names.of(version_id)) is not None:
            found[uri] = str(reference)
    return replace(view, artifacts=found, files=addressed(client, view.spec))
