"""Bad days of a source: what is read badly is read again, and what arrives is what arrives on a good day."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import anyio
import pytest

from engine import Engine, Options, open_destination, open_source
from engine.protocols import SystemOptions
from engine.sandbox import Account
from engine.transfer.options import Result
from tests.e2e.bad_days import READING, READING_AT_ONCE, comparable, rehearsed
from tests.e2e.hurry import in_a_hurry
from tests.e2e.world import World
from tests.sdk_reader import SdkReader
from tests.servers import RunningSandbox, running_sandbox

ENTITY = "rehearsal"
PROJECTS = ("vision", "text")


class Servers:
    """A source that holds the world, and a target to which it is moved again and again.

    Each transfer goes to an entity of its own, and what the sandbox has stored is looked at from outside.
    """

    def __init__(self, source: RunningSandbox, target: RunningSandbox, teams: Iterator[str]) -> None:
        self.source = source
        self._target = target
        self._teams = teams
        self._reader = SdkReader(target.url, target.api_key)
        self._good: Any = None
        anyio.run(self._fill)

    async def _fill(self) -> None:
        goal = f"wandb:{self.source.url}/{ENTITY}"
        async with Engine(
            World("2"), open_destination(goal, SystemOptions(api_key=self.source.api_key))
        ) as engine:
            assert (await engine.run()).exit_status == 0

    def move(self) -> tuple[Result, str]:
        """Everything to a new entity."""
        team = next(self._teams)

        async def run() -> Result:
            source, target = self.source, self._target
            async with Engine(
                open_source(f"wandb:{source.url}/{ENTITY}", SystemOptions(api_key=source.api_key)),
                open_destination(f"wandb:{target.url}/{team}", SystemOptions(api_key=target.api_key)),
                Options(),
            ) as engine:
                return await engine.run()

        return anyio.run(run), team

    def read(self, team: str) -> Any:
        """All that arrived, bytes included, as the official SDK finds it."""
        return {
            (project, run_id): comparable(run)
            for project in PROJECTS
            for run_id, run in self._reader.project(team, project).items()
        }

    @property
    def good(self) -> Any:
        if self._good is None:
            result, team = self.move()
            assert [str(failure) for failure in result.failures] == []
            self._good = self.read(team)
            assert len(self._good) == 6
        return self._good


@pytest.fixture(autouse=True)
def _in_a_hurry() -> Iterator[None]:
    with in_a_hurry():
        yield


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Generator[Servers]:
    teams = tuple(f"team-{number}" for number in range(400))
    with (
        running_sandbox(tmp_path_factory.mktemp("source"), accounts=[Account(ENTITY)]) as source,
        running_sandbox(tmp_path_factory.mktemp("target"), accounts=[Account("e2e", teams=teams)]) as target,
    ):
        yield Servers(source, target, iter(teams))


def arrives_as_on_a_good_day(servers: Servers, rules: list[str], seed: int) -> None:
    expected = servers.good
    with rehearsed(servers.source, rules, seed) as told:
        result, team = servers.move()
    assert [str(failure) for failure in result.failures] == []
    assert result.exit_status == 0
    # Of several, one may find nothing left to act on; a client that is told of a quota need not run into it.
    assert any(rule["acted"] or "quota" in rule["rule"] for rule in told), told
    assert servers.read(team) == expected


@pytest.mark.parametrize("name", READING)
def test_each_fault_of_a_source_changes_nothing_that_arrives(servers: Servers, name: str) -> None:
    arrives_as_on_a_good_day(servers, READING[name], seed=1)


@pytest.mark.parametrize("name", READING_AT_ONCE)
def test_three_at_once_change_nothing_that_arrives(servers: Servers, name: str) -> None:
    arrives_as_on_a_good_day(servers, READING_AT_ONCE[name], seed=1)


def test_an_object_that_stays_damaged_fails_alone(servers: Servers) -> None:
    rules = ["objects GET: corrupt response"]
    with rehearsed(servers.source, rules, 1):
        result, team = servers.move()
    assert result.exit_status == 1
    assert result.failures
    assert {failure.kind for failure in result.failures} == {"IntegrityError"}
    assert all("source" in str(failure) for failure in result.failures)
    assert {run_id for _, run_id in servers.read(team)} == {run_id for _, run_id in servers.good}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
@pytest.mark.parametrize("name", [*READING, *READING_AT_ONCE])
def test_so_it_is_wherever_they_hit(servers: Servers, name: str, seed: int) -> None:
    arrives_as_on_a_good_day(servers, {**READING, **READING_AT_ONCE}[name], seed)
