"""Where portfolios go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from engine.errors import ConfigError, NotFound
from engine.records import Json, Namespace
from engine.wandb.client import WandbClient
from engine.wandb.collections.registries import PortfolioPlaces

pytestmark = pytest.mark.anyio

REGISTRY = Namespace("acme-org", "wandb-registry-model")


class Answers:
    """A server that knows who is in which organisation."""

    def __init__(self, entity: Json) -> None:
        self.entity = entity
        self.asked = 0

    async def graphql(self, document: str, variables: Mapping[str, Json], subject: str) -> Json:
        assert "organization" in document
        assert variables == {"entity": "team"}
        assert subject == f"registry {REGISTRY}"
        self.asked += 1
        return {"entity": self.entity}


def organization(name: str) -> dict[str, Any]:
    return {"name": name, "orgEntity": {"name": f"{name}_org"}}


def places(
    entity: Json, told: Mapping[Namespace, Namespace] | None = None
) -> tuple[PortfolioPlaces, Answers]:
    server = Answers(entity)
    return PortfolioPlaces(cast("WandbClient", server), "team", (told or {}).get), server


async def test_a_registry_goes_to_the_one_of_its_name_in_the_organisation_of_the_team():
    found, server = places({"organization": organization("beta"), "user": None})
    for _ in range(2):
        assert await found.of(REGISTRY) == Namespace("beta_org", "wandb-registry-model")
    assert server.asked == 1


async def test_a_person_has_the_organisation_that_they_are_in():
    found, _ = places({"organization": None, "user": {"organizations": [organization("beta")]}})
    assert await found.of(REGISTRY) == Namespace("beta_org", "wandb-registry-model")


async def test_who_is_in_several_has_to_choose():
    own = {"organization": None, "user": {"organizations": [organization("beta"), organization("gamma")]}}
    with pytest.raises(ConfigError, match="several organisations: beta, gamma") as raised:
        await places(own)[0].of(REGISTRY)
    assert "--remap acme-org/wandb-registry-model=ENTITY/PROJECT" in str(raised.value)
    assert "beta_org, gamma_org" in str(raised.value)


@pytest.mark.parametrize("entity", [None, {"organization": None, "user": {"organizations": []}}])
async def test_who_is_in_none_is_told(entity: Json):
    with pytest.raises(NotFound, match="belongs to no organisation"):
        await places(entity)[0].of(REGISTRY)


async def test_what_the_user_says_comes_first():
    told = Namespace("team", "models")
    found, server = places({"organization": organization("beta")}, {REGISTRY: told})
    assert await found.of(REGISTRY) == told
    assert server.asked == 0


async def test_portfolios_of_projects_that_are_not_moved_go_nowhere():
    found, _ = places({"organization": organization("beta")})
    assert await found.of(Namespace("acme", "project")) is None
