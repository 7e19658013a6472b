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
from engine.protocols import Destination, Source, SystemOptions
from engine.remapping.reading import parse_mapping
from engine.remapping.source import remapped
from engine.sandbox.artifacts import links as sandbox_links
from engine.sandbox.artifacts.records import Artifact, Collection
from engine.sandbox.context import Call
from engine.transfer.options import Result
from engine.verify.verifier import Verifier
from engine.wandb import documents
from tests.e2e.bad_days import rehearsed
from tests.e2e.planting import Spoiler
from tests.e2e.sdk_links import CLOSED, CURATED, OTHER, PICKED, PROJECT, REGISTRY, UNUSED, describe
from tests.e2e.wandb_pair import STRANGER, A, B, Pair, api_of, running_pair
from tests.sandbox.artifact_writer import ArtifactWriter
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


@pytest.fixture(scope="module")
def arrived(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> tuple[Options, Result]:
    """What came of the first transfer that could make the registry."""
    options = Options(state_dir=tmp_path_factory.mktemp("state"))
    result = pair.move("", "", options)
    assert result.failures == []
    return options, result


def told_of_registry(result: Result) -> str:
    """What is said of the one registry that could not be made."""
    (told,) = result.failures
    assert (told.item, told.side) == ("portfolio", "destination")
    assert "cannot be created: " in told.message
    assert "ask an administrator of the organisation" in told.message
    return told.message


def test_where_no_registry_can_be_made_its_links_fail_by_name_and_the_rest_arrives(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = documents.CREATE_REGISTRY.replace("inserted", "notKnownToThisServer")
    monkeypatch.setattr(documents, "CREATE_REGISTRY", refused)
    told = told_of_registry(pair.move(PROJECT, "no-registry"))
    assert CURATED.replace("/curated", "") in told
    assert len(seen(api_of(pair.target), f"{B}/no-registry/{PICKED}").links) == 2


def test_where_rights_are_missing_they_fail_as_well(pair: Pair) -> None:
    theirs = f"{STRANGER}/wandb-registry-{REGISTRY}"
    remap = {f"{ORGANIZATION}/wandb-registry-{REGISTRY}": theirs}
    told = told_of_registry(pair.move(PROJECT, "no-rights", Options(remap=remap)))
    assert theirs in told
    assert "permission denied" in told
    assert len(seen(api_of(pair.target), f"{B}/no-rights/{PICKED}").links) == 2


@dataclass(frozen=True)
class SeenRegistry:
    description: str | None
    visibility: str
    types: tuple[str, ...]
    takes_all: bool


def registry(api: wandb.Api, name: str) -> SeenRegistry:
    """A registry as the official SDK reads it."""
    found: Any = api.registry(name=name, organization="sandbox")
    return SeenRegistry(
        found.description,
        found.visibility,
        tuple(sorted(found.artifact_types)),
        found.allow_all_artifact_types,
    )


@pytest.mark.usefixtures("arrived")
def test_a_registry_that_is_missing_is_made_as_it_was(pair: Pair) -> None:
    made = registry(api_of(pair.target), REGISTRY)
    assert made == registry(api_of(pair.source), REGISTRY)
    told = "data that is fit for use", "organization", ("dataset", "model"), False
    assert made == SeenRegistry(*told)


def verified(pair: Pair) -> list[str]:
    findings = anyio.run(Verifier(*sides(pair, A, B)).run)
    assert findings.not_verified == []
    return [f"{one.kind} {one.part} {one}" for one in findings.differences]


def sides(pair: Pair, there: str, here: str) -> tuple[Source, Destination]:
    origin, goal = pair.source, pair.target
    return (
        open_source(f"wandb:{origin.url}/{there}", SystemOptions(api_key=origin.api_key)),
        open_destination(f"wandb:{goal.url}/{here}", SystemOptions(api_key=goal.api_key)),
    )


def of_portfolio(name: str) -> str:
    return f"(SELECT number FROM artifact_collections WHERE name = '{name}')"


@pytest.mark.usefixtures("arrived")
@pytest.mark.parametrize(
    ("planted", "words"),
    [
        pytest.param(None, None, id="nothing"),
        pytest.param(
            f"DELETE FROM artifact_memberships WHERE collection = {of_portfolio('curated')} "
            "AND version_index = 0",
            ("missing link", f"portfolio {ORGANIZATION}/{CURATED}: link to ds:v2 is missing"),
            id="a link in a registry",
        ),
        pytest.param(
            "UPDATE artifact_collections SET name = 'x' WHERE name = 'curated'",
            ("missing portfolio", f"{ORGANIZATION}/{CURATED}: is missing in {ORGANIZATION}/"),
            id="a portfolio of a registry",
        ),
        pytest.param(
            f"UPDATE artifact_collections SET name = 'x' WHERE name = '{UNUSED}'",
            ("missing portfolio", f"{A}/{PROJECT}/{UNUSED}: is missing in {B}/{PROJECT}"),
            id="an empty portfolio",
        ),
    ],
)
def test_verification_compares_portfolios_also_in_registries(
    pair: Pair, tmp_path: Path, planted: str | None, words: tuple[str, ...] | None
) -> None:
    spoiler = Spoiler(pair.target.data_dir)
    with spoiler.spoiling(tmp_path / "blobs"):
        if planted is not None:
            spoiler.change(planted)
        told = verified(pair)
    assert len(told) == (0 if words is None else 1), told
    assert all(word in told[0] for word in words or ())


@pytest.mark.usefixtures("arrived")
def test_a_registry_that_is_there_stays_as_it_is(pair: Pair) -> None:
    api = api_of(pair.target)
    changed: Any = api.registry(name=REGISTRY, organization="sandbox")
    changed.description = "ours"
    changed.save()
    try:
        assert pair.move("", "").failures == []
        assert registry(api, REGISTRY).description == "ours"
    finally:
        changed.description = registry(api_of(pair.source), REGISTRY).description
        changed.save()


@pytest.mark.usefixtures("arrived")
@pytest.mark.parametrize("name", [REGISTRY, CLOSED])
def test_a_registry_can_be_moved_by_itself_with_what_is_empty(pair: Pair, name: str) -> None:
    place = f"{ORGANIZATION}/wandb-registry-{name}"
    origin, goal = pair.source, pair.target
    options = Options(remap={f"{A}/{PROJECT}": f"{B}/{PROJECT}"})

    async def move() -> Result:
        async with Engine(*sides(pair, place, ORGANIZATION), options) as engine:
            return await engine.run()

    result = anyio.run(move)
    assert result.failures == []
    assert registry(api_of(goal), name) == registry(api_of(origin), name)
    if name == REGISTRY:
        empty = SeenPortfolio("for later", ("empty",), ())
        assert seen(api_of(goal), f"{place}/{UNUSED}") == empty == seen(api_of(origin), f"{place}/{UNUSED}")
        assert seen(api_of(goal), f"{ORGANIZATION}/{CURATED}") == seen(
            api_of(origin), f"{ORGANIZATION}/{CURATED}"
        )
    before = goal.counters()["writes"]
    assert anyio.run(move).failures == []
    assert goal.counters()["writes"] == before


@pytest.mark.parametrize(
    ("there", "here"),
    [
        pytest.param(f"{ORGANIZATION}/{CURATED}", f"{ORGANIZATION}/{CURATED}", id="registry"),
        pytest.param(f"{A}/{PROJECT}/{PICKED}", f"{B}/{PROJECT}/{PICKED}", id="project"),
        pytest.param(f"{A}/{PROJECT}/{UNUSED}", f"{B}/{PROJECT}/{UNUSED}", id="empty"),
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
    assert verified(pair) == [], "what is theirs is no difference"


def test_links_to_what_is_not_moved_are_told(pair: Pair) -> None:
    result = pair.move(PROJECT, "alone")
    assert [(one.number, one.source) for one in seen(api_of(pair.target), f"{B}/alone/{PICKED}").links] == [
        ("v0", "alone/ds:v1"),
        ("v2", "alone/ds:v3"),
    ]
    (told,) = [loss for loss in result.loss_examples["link_dropped"] if PICKED in loss.subject]
    assert f"{OTHER}/foreign:v0" in told.detail


def moved_on(call: Call, artifact: Artifact, portfolio: Collection) -> None:
    """A server that gives a new number to a version that is linked again, as W&B may."""
    where = (portfolio.number, artifact.number)
    call.db.execute("DELETE FROM artifact_memberships WHERE collection = ? AND artifact = ?", where)


@pytest.fixture(params=["nothing", "a new number"])
def linking_again(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the servers do with a version that is linked a second time, of which W&B tells nothing."""
    if request.param == "a new number":
        monkeypatch.setattr(sandbox_links, "_linked_again", moved_on)
    return str(request.param)


PICKED_ALONE = [("v0", ("first",)), ("v2", ("best", "latest"))]


def picked(pair: Pair, project: str) -> list[tuple[str, tuple[str, ...]]]:
    links = seen(api_of(pair.target), f"{B}/{project}/{PICKED}").links
    return [(one.number, one.aliases) for one in links]


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
@pytest.mark.parametrize("at", range(1, 8, 2))
def test_pulling_the_plug_changes_nothing(pair: Pair, tmp_path: Path, at: int, linking_again: str) -> None:
    options, project = Options(state_dir=tmp_path), f"killed-{at}-{linking_again[:1]}"
    assert pair.interrupt(PROJECT, project, options, at, b"inkArtifact(")
    assert pair.move(PROJECT, project, options).failures == []
    assert picked(pair, project) == PICKED_ALONE


@pytest.mark.usefixtures("arrived")
@pytest.mark.parametrize("after", range(2))
def test_a_lost_answer_makes_no_link_twice(pair: Pair, after: int, linking_again: str) -> None:
    project = f"lost-{after}-{linking_again[:1]}"
    mutations = ("linkArtifact", "unlinkArtifact", "createArtifactPortfolio", "upsertModel")
    rules = [f"graphql {each}: lose-answer once after {after} requests" for each in mutations]
    with rehearsed(pair.target, rules, 1) as told:
        result = pair.move(PROJECT, project)
    assert told[0]["acted"] == 1
    assert result.failures == []
    assert picked(pair, project) == PICKED_ALONE
    assert seen(api_of(pair.target), f"{B}/{project}/{UNUSED}").links == ()
