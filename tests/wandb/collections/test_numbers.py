"""Which numbers of a collection can still be had."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import orjson
import pytest

from engine.records import Artifact, Collection, Json, Namespace, Version
from engine.wandb.collections.numbers import Numbers, foretell, other_owner
from engine.wandb.collections.place import Place
from engine.wandb.collections.placeholders import PLACEHOLDER
from engine.wandb.reading.collections import SEQUENCE, Holding

pytestmark = pytest.mark.anyio

HOME = Namespace("me", "project")


def version(number: int, digest: str = "", description: str | None = None) -> Version:
    return Version(
        artifact=Artifact(
            namespace=HOME,
            name="c",
            type="dataset",
            version=number,
            digest=digest or f"d{number}",
            description=description,
            locator=orjson.dumps([f"id{number}"]).decode(),
        )
    )


def holding(*versions: Version, kind: str = SEQUENCE, type_: str = "dataset") -> Holding:
    said = Collection(namespace=HOME, name="c", type=type_)
    return Holding("seq", kind, said, {one.number: one for one in versions})


def place(found: Holding | None, brought: Mapping[str, str] | None = None) -> Place:
    """A place that holds this; ``brought`` says what client ids stand for."""

    async def graphql(_document: str, variables: Mapping[str, Json], _subject: str) -> Json:
        known = brought or {}
        return {name: {"serverID": known.get(client_id)} for name, client_id in variables.items()}

    async def held() -> Holding | None:
        return found

    client = SimpleNamespace(graphql=graphql)
    made = SimpleNamespace(
        client=client, namespace=HOME, name="c", type="dataset", subject="artifact c", holding=held
    )
    return cast("Place", made)


def numbers(*there: Version, brought: Mapping[str, str] | None = None) -> Numbers:
    found = holding(*there)
    return Numbers.of(place(found, brought), "origin", found)


async def test_a_version_is_there_if_its_digest_is():
    there = numbers(version(0), version(1))
    assert await there.has(version(1))
    assert not await there.has(version(1, "other"))
    assert not await there.has(version(2))


async def test_a_version_whose_digest_changed_on_its_way_is_known_by_where_it_came_from():
    client_id = numbers().client_id(version(0, "as it was"))
    there = numbers(version(0, "as it became"), brought={client_id: "id0"})
    assert await there.has(version(0, "as it was"))
    assert not await there.has(version(0, "another version of the source"))


@pytest.mark.parametrize(
    ("there", "wanted", "why"),
    [
        ([version(0)], 1, None),
        ([], 5, None),
        ([version(0, "theirs")], 0, "another version has it"),
        ([version(0), version(2)], 1, "it belonged to a version that was deleted there"),
        (
            [version(0, description=PLACEHOLDER)],
            0,
            "it went to a placeholder when the version could not be read",
        ),
    ],
)
async def test_what_stands_in_the_way_of_a_number(there: list[Version], wanted: int, why: str | None):
    assert numbers(*there).obstacle(version(wanted)) == why


async def test_a_name_can_belong_to_something_else():
    here = place(None)
    assert other_owner(here, holding()) is None
    assert other_owner(here, holding(type_="model")) == "a collection of type 'model', not 'dataset'"
    assert other_owner(here, holding(kind="ArtifactPortfolio")) == "a collection of links"


@pytest.mark.parametrize("recreate", [False, True])
async def test_nothing_is_foretold_of_what_can_be_brought(*, recreate: bool):
    for found in (None, holding(version(0))):
        assert await foretell(place(found), "origin", [version(0), version(1)], recreate=recreate) is None


async def test_links_are_never_foretold_to_be_deleted():
    found = holding(kind="ArtifactPortfolio")
    problem = await foretell(place(found), "origin", [version(0)], recreate=True)
    assert problem is not None
    assert (problem.kind, problem.remedy) == ("collection_conflict", None)
