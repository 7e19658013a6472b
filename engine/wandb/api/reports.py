"""Reports: what they are made of."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from engine.records import Json, Namespace
from engine.wandb.api import documents
from engine.wandb.api.asking import page_size
from engine.wandb.api.errors import streaming_comm_errors
from engine.wandb.api.placed import InProject
from engine.wandb.api.session import Session
from engine.wandb.api.times import utc
from engine.wandb.client import WandbClient
from engine.wandb.reading.files import addressed
from engine.wandb.reading.pages import pages
from engine.wandb.reading.runs import project_url
from engine.wandb.reading.values import parse_object


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(InProject):
    """A published report.

    Attributes:
        name: the server's own name for it.
        title: what people call it.
        spec: all of it, as it is stored.
        assets: addresses in it of files that the server keeps, such as images that were put into it.
        updated_at: ISO 8601 with a zone.
        url: where a browser shows it.
    """

    id: str
    name: str
    title: str
    description: str | None
    spec: Mapping[str, Json]
    assets: tuple[str, ...]
    namespace: Namespace
    user: str | None
    created_at: str
    updated_at: str | None
    url: str

    @property
    def display_name(self) -> str:
        """Another word for ``title``."""
        return self.title

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """What it shows, from top to bottom, each with its ``type``."""
        return list(self.spec.get("blocks") or ())

    @property
    def sections(self) -> list[dict[str, Any]]:
        """The blocks with panels."""
        return [block for block in self.blocks if block.get("type") == "panel-grid"]


@streaming_comm_errors
async def list_reports(
    session: Session, namespace: Namespace, name: str | None, per_page: int
) -> AsyncGenerator[Report]:
    """The reports of a project, or those of one name."""
    variables = {
        "entity": namespace.entity,
        "project": namespace.project,
        "perPage": page_size(per_page),
        "name": name,
    }
    found = pages(
        session.client,
        documents.REPORTS,
        variables,
        lambda data: (data.get("project") or {}).get("allViews"),
        f"reports of {namespace}",
    )
    async with aclosing(found):
        async for page in found:
            for node in page:
                yield _report(node, namespace, session.client)


def _report(node: Mapping[str, Json], namespace: Namespace, client: WandbClient) -> Report:
    spec = parse_object(node["spec"])
    title = node.get("displayName") or ""
    shown = f"{title.replace(' ', '-')}--{node['id'].rstrip('=')}"
    return Report(
        id=node["id"],
        name=node["name"],
        title=title,
        description=node.get("description") or None,
        spec=spec,
        assets=tuple(addressed(client, spec)),
        namespace=namespace,
        user=(node.get("user") or {}).get("username"),
        created_at=utc(node["createdAt"]),
        updated_at=utc(node["updatedAt"]) if node.get("updatedAt") else None,
        url=f"{project_url(client.base_url, namespace)}/reports/{quote(shown, safe='')}",
    )
