"""What stands in the way is told before anything is written, all of it together."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from engine.cli.loop import exit_status
from engine.errors import (
    AuthError,
    ConfigError,
    EngineError,
    PreflightError,
    Problem,
    Severity,
    Side,
    Transient,
)
from engine.protocols import RunRehearsal, Survey
from engine.records import Namespace, Project, Run, Selection, SystemInfo
from engine.transfer.context import Context
from engine.transfer.engine import Engine
from engine.transfer.options import Options
from engine.transfer.planning.preflight import LEAST_ROOM
from tests.memory import MemoryDestination, MemoryRun, MemorySource

pytestmark = pytest.mark.anyio

RUN = MemoryRun(Run(id="r1", namespace=Namespace("", "vision")))
NO_KEY = AuthError("no such key", side=Side.DESTINATION, remedy="get one")
AWAY = Transient("cannot connect", side=Side.SOURCE)


@dataclass
class Place(MemoryDestination):
    """A destination that can be looked at, and may be the very place that a source is."""

    server: str | None = None
    opening: EngineError | None = None
    surveyed: Survey = field(default_factory=Survey)

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        if self.opening is not None:
            raise self.opening
        async with super().open(context) as info:
            yield replace(info, server=self.server)

    async def survey(self, projects: Sequence[Project]) -> Survey:
        return replace(self.surveyed, targets=await self.targets(projects))

    async def targets(self, projects: Sequence[Project]) -> Mapping[Namespace, Namespace]:
        return await super().prepare(projects)

    def rehearse(self, run: Run, namespace: Namespace) -> RunRehearsal:
        raise AssertionError("nobody plans here")


class Onto(Place):
    """Every project goes where it is."""

    async def targets(self, projects: Sequence[Project]) -> Mapping[Namespace, Namespace]:
        return {project.namespace: project.namespace for project in projects}


@dataclass
class Origin(MemorySource):
    contents: dict[str, list[MemoryRun]] = field(default_factory=lambda: {"vision": [RUN]})
    server: str | None = None

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        async with super().open(context) as info:
            yield replace(info, server=self.server)


async def problems_of(
    origin: MemorySource, place: MemoryDestination, options: Options | None = None
) -> tuple[list[str], int]:
    """What is told, and the exit status; nothing may have been written."""
    with pytest.raises(EngineError) as raised:
        async with Engine(origin, place, options):
            raise AssertionError("entered")
    assert not place.written
    error = raised.value
    errors = error.errors if isinstance(error, PreflightError) else (error,)
    return [one.message for one in errors], exit_status(error)


async def warnings_of(
    origin: MemorySource, place: MemoryDestination, options: Options | None = None
) -> list[str]:
    async with Engine(origin, place, options) as engine:
        await engine.run()
        assert all(warning.severity is Severity.WARNING for warning in engine.warnings)
        return [warning.kind for warning in engine.warnings]


# -- together ------------------------------------------------------------------------------------


async def test_problems_of_both_sides_and_of_this_machine_are_told_at_once(tmp_path: Path):
    (tmp_path / "state").write_text("a file where the directory should be")
    origin, place = Origin(faults={"open": AWAY}), Place(opening=NO_KEY)

    told, _ = await problems_of(origin, place, Options(state_dir=tmp_path / "state"))

    assert told[1:] == ["cannot connect", "no such key"]
    assert "state directory" in told[0]


async def test_a_single_problem_is_raised_as_what_it_is():
    with pytest.raises(AuthError) as raised:
        async with Engine(Origin(), Place(opening=NO_KEY)):
            pass

    assert raised.value is NO_KEY


async def test_several_problems_are_one_error_with_all_of_them():
    with pytest.raises(PreflightError) as raised:
        async with Engine(
            Origin(), Place(opening=NO_KEY), Options(selection=Selection(projects=("nosuch",)))
        ):
            pass

    assert [problem.kind for problem in raised.value.problems] == ["AuthError", "ConfigError"]
    assert "1. destination: no such key (get one)" in str(raised.value)
    assert "2. no project 'nosuch'" in str(raised.value)


@pytest.mark.parametrize(
    ("source_fault", "selection", "status"),
    [(AWAY, (), 3), (None, ("nosuch",), 2)],
    ids=["both sides cannot be used: 3", "a wrong request stays wrong with a key: 2"],
)
async def test_the_exit_status_is_2_if_the_request_has_to_change(
    source_fault: EngineError | None, selection: tuple[str, ...], status: int
):
    origin = Origin(faults={"open": source_fault} if source_fault else {})

    _, given = await problems_of(
        origin, Place(opening=NO_KEY), Options(selection=Selection(projects=selection))
    )

    assert given == status


async def test_what_the_destination_finds_in_its_places_is_told_too():
    closed = AuthError("may be read only", side=Side.DESTINATION)
    unknown = ConfigError("no such entity", side=Side.DESTINATION)

    told, status = await problems_of(Origin(), Place(surveyed=Survey(errors=(closed, unknown))))

    assert told == ["may be read only", "no such entity"]
    assert status == 2


async def test_warnings_go_on():
    place = Place(surveyed=Survey(warnings=(Problem(kind="project_renamed", message="it must change"),)))

    assert await warnings_of(Origin(), place) == ["project_renamed"]
    assert place.written


# -- the same place ------------------------------------------------------------------------------


async def test_a_project_is_not_copied_onto_itself():
    told, status = await problems_of(Origin(server="s"), Onto(server="s"))

    assert (told, status) == (["source and destination are the same project"], 2)


async def test_another_project_of_the_same_server_is_a_good_destination():
    assert await warnings_of(Origin(server="s"), Place(server="s")) == []


async def test_equal_addresses_of_systems_that_have_no_servers_are_the_same_place():
    told, status = await problems_of(Origin(uri="archive:x"), Place(uri="archive:x"))

    assert (told, status) == (["source and destination are the same"], 2)


# -- names ---------------------------------------------------------------------------------------


async def test_a_remapping_of_what_is_not_there_is_pointed_out():
    origin = Origin()

    async with Engine(origin, MemoryDestination(), Options(remap={"vison": "x"})) as engine:
        (warning,) = engine.warnings

    assert warning.kind == "remap_unused"
    assert warning.remedy == "did you mean 'vision'?"


# -- disks ---------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of half of what is needed at least, for which one must be allowed to mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={LEAST_ROOM // 2}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_a_disk_without_room_for_temporary_data_is_told(small_disk: Path):
    told, status = await problems_of(Origin(), Place(), Options(spool=small_disk))

    assert [text for text in told if text.startswith("the disk for temporary data is full: ")] == told
    assert status == 2
    assert not list(small_disk.iterdir()), "nothing is left behind"


async def test_a_disk_without_room_for_the_ledger_is_told(small_disk: Path):
    told, status = await problems_of(Origin(), Place(), Options(state_dir=small_disk / "state"))

    assert [text for text in told if text.startswith("the disk for the ledger is full")] == told
    assert status == 2
