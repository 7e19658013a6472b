"""Portfolios and registries of one W&B server arrive on another: the official SDK writes, and reads both."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
import wandb
from wandb.sdk.artifacts.artifact_instance_cache import artifact_instance_cache

from engine import Engine, Options, open_destination, open_source
from engine.protocols import SystemOptions
from engine.remapping.reading import parse_mapping
from engine.remapping.source import remapped
from engine.transfer.options import Result
from tests.e2e.sdk_links import CURATED, OTHER, PICKED, PROJECT, REGISTRY, describe
from tests.e2e.wandb_pair import A, B, Pair, api_of, running_pair
from tests.sandbox.artifact_writer import ArtifactWriter
from tests.servers import RunningSandbox
from tests.wandb.conftest import run_sdk

ORGANIZATION = "sandbox-org"

NUMBERS = 8
"""More than any portfolio here has given."""


_RUN = 'mutation ($p: String) { upsertBucket(input: {name: "r", modelName: $p}) { inserted } }'


@dataclass(frozen=True)
class SeenLink:
    number: str
    source: str
    digest: str
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class SeenPortfolio:
    description: str | None
    tags: tuple[str, ...]
    links: tuple[SeenLink, ...]


def seen(api: wandb.Api, path: str) -> SeenPortfolio:
    """A portfolio as the official SDK reads it."""
    collection: Any = api.artifact_collection("dataset", path)
    # Its list of artifacts tells their own numbers, not those that they have here.
    names = [f"{path}:v{number}" for number in range(NUMBERS)]
    links = [link(api, name) for name in names if api.artifact_exists(name)]
    return SeenPortfolio(collection.description, tuple(sorted(collection.tags)), tuple(links))


def link(api: wandb.Api, name: str) -> SeenLink:
    # The SDK keeps artifacts by their ids, which are not those of one server only.
    artifact_instance_cache.clear()
    found = api.artifact(name)
    assert found.is_link
    source = f"{found.source_project}/{found.source_name}"
    return SeenLink(found.version, source, found.digest, tuple(sorted(found.aliases)))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pair]:
    with running_pair(tmp_path_factory) as pair:
        run_sdk("tests.e2e.sdk_links", pair.source, tmp_path_factory.mktemp("sdk"))
        yield pair


def create_registry(server: RunningSandbox) -> None:
    api_of(server).create_registry(
        name=REGISTRY, visibility="organization", organization="sandbox", artifact_types=["dataset"]
    )


@pytest.fixture(scope="module")
def arrived(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> tuple[Options, Result]:
    """What came of the first transfer that found the registry."""
    create_registry(pair.target)
    options = Options(state_dir=tmp_path_factory.mktemp("state"))
    result = pair.move("", "", options)
    assert result.failures == []
    return options, result


def test_without_the_registry_its_links_fail_by_name_and_the_rest_arrives(pair: Pair) -> None:
    result = pair.move(PROJECT, "no-registry")
    (told,) = result.failures
    assert (told.item, told.side) == ("portfolio", "destination")
    assert CURATED.replace("/curated", "") in told.message
    assert "create it" in told.message
    assert len(seen(api_of(pair.target), f"{B}/no-registry/{PICKED}").links) == 2


@pytest.mark.parametrize(
    ("there", "here"),
    [
        pytest.param(f"{ORGANIZATION}/{CURATED}", f"{ORGANIZATION}/{CURATED}", id="registry"),
        pytest.param(f"{A}/{PROJECT}/{PICKED}", f"{B}/{PROJECT}/{PICKED}", id="project"),
    ],
)
@pytest.mark.usefixtures("arrived")
def test_each_portfolio_is_the_same(pair: Pair, there: str, here: str) -> None:
    assert seen(api_of(pair.target), here) == seen(api_of(pair.source), there)


@pytest.mark.usefixtures("arrived")
def test_links_keep_their_numbers_and_aliases(pair: Pair) -> None:
    links = seen(api_of(pair.target), f"{ORGANIZATION}/{CURATED}").links
    assert [(one.number, one.source, one.aliases) for one in links] == [
        ("v0", f"{PROJECT}/ds:v2", ("gold", "prod")),
        ("v2", f"{PROJECT}/ds:v0", ()),
        ("v4", f"{PROJECT}/more:v0", ("latest", "silver")),
    ]
    assert link(api_of(pair.target), f"{ORGANIZATION}/{CURATED}:prod") == links[0]


def test_the_second_transfer_writes_nothing(pair: Pair, arrived: tuple[Options, Result]) -> None:
    before = pair.target.counters()["writes"]
    assert pair.move("", "", arrived[0]).exit_status == 0
    assert pair.target.counters()["writes"] == before


# -- what people do between two transfers


def test_an_alias_that_moved_and_a_new_link_follow(pair: Pair, arrived: tuple[Options, Result]) -> None:
    api = api_of(pair.source)
    path = f"{ORGANIZATION}/{CURATED}"
    moved: Any = api.artifact(f"{path}:v2")
    moved.aliases.append("prod")
    moved.save()
    api.artifact(f"{A}/{PROJECT}/ds:v3").link(CURATED, aliases=["fresh"])
    assert pair.move("", "", arrived[0]).failures == []
    assert seen(api_of(pair.target), path) == seen(api, path)


def test_what_others_linked_at_the_destination_stays_theirs(pair: Pair) -> None:
    """A registry is shared: links and aliases of others stay, and numbers go on after theirs."""
    pair.target.graphql(_RUN, p="theirs")
    ArtifactWriter(pair.target, "theirs", entity=B).log("own", {"f": b"theirs"}, runName="r")
    target = api_of(pair.target)
    shared = f"{ORGANIZATION}/wandb-registry-{REGISTRY}/shared"
    target.artifact(f"{B}/theirs/own:v0").link(shared, aliases=["prod"])
    describe(target, "dataset", shared, "theirs", ["theirs"])
    source = api_of(pair.source)
    source.artifact(f"{A}/{PROJECT}/ds:v0").link(shared, aliases=["prod", "mine"])
    describe(source, "dataset", shared, "ours", ["ours"])

    result = pair.move("", "")

    assert result.failures == []
    found = seen(target, shared)
    assert [(one.number, one.source, one.aliases) for one in found.links] == [
        ("v0", "theirs/own:v0", ("prod",)),
        ("v1", f"{PROJECT}/ds:v0", ("latest", "mine")),
    ]
    assert (found.description, found.tags) == ("theirs", ("ours", "theirs"))
    assert result.losses["link_renumbered"] == 1
    assert result.losses["alias_dropped"] == 1


def test_links_to_what_is_not_moved_are_told(pair: Pair) -> None:
    result = pair.move(PROJECT, "alone")
    assert [(one.number, one.source) for one in seen(api_of(pair.target), f"{B}/alone/{PICKED}").links] == [
        ("v0", "alone/ds:v1"),
        ("v2", "alone/ds:v3"),
    ]
    (told,) = [loss for loss in result.loss_examples["link_dropped"] if PICKED in loss.subject]
    assert f"{OTHER}/foreign:v0" in told.detail


@pytest.mark.usefixtures("arrived")
def test_links_into_a_registry_go_by_their_new_names(pair: Pair) -> None:
    mapping = parse_mapping(
        "version: 1\nartifacts: {curated: polished, ds: data}\naliases: {prod: live}\ntags: {re:(.+): my-\\1}"
    )
    origin, goal = (SystemOptions(api_key=server.api_key) for server in (pair.source, pair.target))

    async def move() -> Result:
        source = remapped(open_source(f"wandb:{pair.source.url}/{A}/{PROJECT}", origin), mapping)
        destination = open_destination(f"wandb:{pair.target.url}/{B}/renamed", goal)
        async with Engine(source, destination, Options()) as engine:
            return await engine.run()

    assert anyio.run(move).failures == []
    there = seen(api_of(pair.source), f"{ORGANIZATION}/{CURATED}")
    here = seen(api_of(pair.target), f"{ORGANIZATION}/wandb-registry-{REGISTRY}/polished")
    assert here.tags == tuple(f"my-{tag}" for tag in there.tags)
    assert [(one.number, one.source, one.aliases) for one in here.links] == [
        (
            one.number,
            one.source.replace(f"{PROJECT}/", "renamed/").replace("/ds:", "/data:"),
            tuple(sorted("live" if alias == "prod" else alias for alias in one.aliases)),
        )
        for one in there.links
    ]
    assert any("live" in one.aliases for one in here.links)


@pytest.mark.usefixtures("arrived")
@pytest.mark.parametrize("at", range(1, 8))
def test_pulling_the_plug_changes_nothing(pair: Pair, tmp_path: Path, at: int) -> None:
    options, project = Options(state_dir=tmp_path), f"killed-{at}"
    assert pair.interrupt(PROJECT, project, options, at, b"linkArtifact(")
    assert pair.move(PROJECT, project, options).failures == []
    path = f"{B}/{project}/{PICKED}"
    links = seen(api_of(pair.target), path).links
    assert [(one.number, one.aliases) for one in links] == [("v0", ("first",)), ("v2", ("best", "latest"))]
