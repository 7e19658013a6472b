"""Portfolios as a server tells them, also in ways that the sandbox does not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from engine.errors import Side
from engine.records import Json, Link, Namespace, VersionRef
from engine.wandb.client import WandbClient
from engine.wandb.reading.portfolios import read_portfolio

pytestmark = pytest.mark.anyio

HERE = Namespace("team", "p")


class Answers:
    """A server that makes a second link where a version is linked again; nobody tells what W&B does."""

    features = frozenset[str]()
    side = Side.SOURCE

    async def graphql(self, _document: str, _variables: Mapping[str, Json], _subject: str) -> Json:
        members = [linked(0, "ds", 2, "old"), linked(1, "ds", 0), linked(3, "ds", 2, "latest")]
        return {
            "project": {
                "artifactCollection": {
                    "__typename": "ArtifactPortfolio",
                    "id": "P",
                    "name": "picked",
                    "description": None,
                    "defaultArtifactType": {"name": "dataset"},
                    "artifactMemberships": {
                        "edges": [{"cursor": "", "node": node} for node in members],
                        "pageInfo": {"hasNextPage": False, "endCursor": None},
                    },
                }
            }
        }


def linked(number: int, name: str, version: int, *aliases: str) -> dict[str, Any]:
    home = {"entityName": HERE.entity, "name": HERE.project}
    return {
        "versionIndex": number,
        "aliases": [{"alias": alias} for alias in aliases],
        "artifact": {
            "id": f"{name}{version}",
            "versionIndex": version,
            "state": "COMMITTED",
            "artifactSequence": {"name": name, "project": home},
        },
    }


async def test_several_links_to_a_version_are_one_under_the_latest_number():
    found = await read_portfolio(cast("WandbClient", Answers()), HERE, "picked")
    assert found is not None
    assert found.portfolio.links == (
        Link(number=1, target=VersionRef(HERE, "ds", 0)),
        Link(number=3, target=VersionRef(HERE, "ds", 2), aliases=("latest", "old")),
    )
    assert found.repeated == 1
