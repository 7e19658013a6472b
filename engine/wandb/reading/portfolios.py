"""Portfolios: collections of links to versions that other collections own. Registries consist of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from engine.errors import NotFound
from engine.records import Collection, Json, Link, Namespace, Portfolio, VersionRef
from engine.wandb.client import WandbClient
from engine.wandb.reading import documents
from engine.wandb.reading.collections import PER_PAGE, SEQUENCE, described, listed_collections
from engine.wandb.reading.pages import pages


@dataclass(frozen=True, slots=True)
class HeldPortfolio:
    """A portfolio as a server holds it now.

    Attributes:
        kind: the name of its type in the protocol; a sequence may have the name as well.
        ids: of the versions that it links to.
        repeated: links to versions that it links to under a later number, too; their aliases are told there.
    """

    id: str
    kind: str
    portfolio: Portfolio
    ids: Mapping[VersionRef, str] = field(default_factory=dict)
    repeated: int = 0


async def list_portfolios(client: WandbClient, namespace: Namespace) -> AsyncGenerator[Collection]:
    """The portfolios of a project; only name and type are told."""
    async with aclosing(listed_collections(client, namespace)) as listed:
        async for kind, collection in listed:
            if kind != SEQUENCE:
                yield collection


async def read_portfolio(client: WandbClient, namespace: Namespace, name: str) -> HeldPortfolio | None:
    """A portfolio with all its links, None if there is nothing of this name.

    A link to a version of which nobody may know where it belongs is left out.

    Raises:
        NotFound: not even its project is there.
    """
    subject = f"portfolio {namespace}/{name}"
    heads: list[Mapping[str, Json]] = []

    def links_in(data: Json) -> Mapping[str, Json]:
        if (project := data.get("project")) is None:
            raise NotFound("its project is not there, or not open to you", side=client.side, subject=subject)
        if (head := project.get("artifactCollection")) is None:
            return _NO_LINKS
        heads.append(head)
        memberships: Mapping[str, Json] = head["artifactMemberships"]
        return memberships

    variables = {
        "entity": namespace.entity,
        "project": namespace.project,
        "collection": name,
        "perPage": PER_PAGE,
        "withTags": "ARTIFACT_TAGS" in client.features,
    }
    links: dict[VersionRef, Link] = {}
    ids: dict[VersionRef, str] = {}
    repeated = 0
    found = pages(client, documents.PORTFOLIO_LINKS, variables, links_in, subject)
    async with aclosing(found) as listed:
        async for page in listed:
            for node in page:
                if (link := _link(node)) is not None:
                    if (other := links.get(link.target)) is not None:
                        repeated += 1
                        link = _together(link, other)
                    links[link.target], ids[link.target] = link, node["artifact"]["id"]
    if not heads:
        return None
    head = heads[0]
    ordered = tuple(sorted(links.values(), key=lambda link: link.number))
    portfolio = Portfolio(collection=described(head, namespace), links=ordered)
    return HeldPortfolio(head["id"], head["__typename"], portfolio, ids, repeated)


_NO_LINKS: Final[Mapping[str, Json]] = {"edges": (), "pageInfo": {"hasNextPage": False}}


def _link(node: Mapping[str, Json]) -> Link | None:
    version, number = node["artifact"], node["versionIndex"]
    if version is None or number is None or version["state"] != "COMMITTED":
        return None
    sequence = version["artifactSequence"]
    if (home := sequence.get("project")) is None:
        return None
    target = VersionRef(
        Namespace(home["entityName"], home["name"]), sequence["name"], version["versionIndex"]
    )
    return Link(
        number=number, target=target, aliases=tuple(sorted(alias["alias"] for alias in node["aliases"]))
    )


def _together(one: Link, other: Link) -> Link:
    """Two links to one version as one: not every server would take both."""
    number, aliases = max(one.number, other.number), {*one.aliases, *other.aliases}
    return replace(one, number=number, aliases=tuple(sorted(aliases)))
