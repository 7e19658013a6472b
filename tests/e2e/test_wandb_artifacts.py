"""Artifacts of one W&B server arrive on another as they were: the official SDK writes, and reads both."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import anyio
import pytest
import wandb

from engine import Engine, Options, open_destination, open_source
from engine.protocols import SystemOptions
from engine.sandbox import Account
from engine.transfer.options import Result
from tests.e2e.sdk_artifacts import SeenCollection, seen
from tests.e2e.sdk_lineage import PROJECT
from tests.servers import RunningSandbox, running_sandbox
from tests.wandb.conftest import run_sdk

A, B = "ann", "bob"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("a"), accounts=[Account(A)]) as running:
        run_sdk("tests.e2e.sdk_lineage", running, tmp_path_factory.mktemp("sdk"))
        yield running


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("b"), accounts=[Account(B)]) as running:
        yield running


def api_of(server: RunningSandbox) -> wandb.Api:
    return wandb.Api(overrides={"base_url": server.url}, api_key=server.api_key)


def move(source: RunningSandbox, target: RunningSandbox, options: Options, project: str = PROJECT) -> Result:
    async def run() -> Result:
        engine = Engine(
            open_source(f"wandb:{source.url}/{A}/{PROJECT}", SystemOptions(api_key=source.api_key)),
            open_destination(f"wandb:{target.url}/{B}/{project}", SystemOptions(api_key=target.api_key)),
            options,
        )
        async with engine:
            return await engine.run()

    return anyio.run(run)


@pytest.fixture(scope="module")
def arrived(
    source: RunningSandbox, target: RunningSandbox, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Options, Result]:
    options = Options(state_dir=tmp_path_factory.mktemp("state"))
    return options, move(source, target, options)


@pytest.fixture(scope="module")
def there(source: RunningSandbox) -> dict[str, SeenCollection]:
    return seen(api_of(source), f"{A}/{PROJECT}")


@pytest.fixture(scope="module")
def here(target: RunningSandbox, arrived: tuple[Options, Result]) -> dict[str, SeenCollection]:
    assert arrived[1].failures == []
    return seen(api_of(target), f"{B}/{PROJECT}")


def test_each_collection_is_the_same(
    there: dict[str, SeenCollection], here: dict[str, SeenCollection]
) -> None:
    assert here == there


def test_versions_keep_their_numbers(here: dict[str, SeenCollection]) -> None:
    numbers = {name: [version.number for version in one.versions] for name, one in here.items()}
    assert numbers["ds"] == ["v0", "v3", "v4", "v5", "v6"]
    assert numbers["late"] == ["v3"]


def test_nothing_that_only_kept_numbers_is_left(
    target: RunningSandbox, here: dict[str, SeenCollection]
) -> None:
    assert here
    runs = {run.id for run in api_of(target).runs(f"{B}/{PROJECT}")}
    assert runs == {"producer", "referring", "consumer", "trainer"}


def test_the_second_and_the_third_transfer_write_nothing(
    source: RunningSandbox, target: RunningSandbox, arrived: tuple[Options, Result]
) -> None:
    options, _ = arrived
    for _ in range(2):
        before = target.counters()["writes"]
        assert move(source, target, options).exit_status == 0
        assert target.counters()["writes"] == before


def test_without_a_ledger_it_is_found_to_be_there(
    source: RunningSandbox, target: RunningSandbox, here: dict[str, SeenCollection]
) -> None:
    result = move(source, target, replace(Options(), artifacts=True))
    assert result.failures == []
    assert seen(api_of(target), f"{B}/{PROJECT}") == here
