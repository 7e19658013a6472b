"""Reports and sweeps in a second transfer: what changed where, and what failed the first time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from engine import Options
from engine.sandbox import Account
from engine.transfer.ledger.items import Kind, State
from engine.transfer.ledger.ledger import LEDGER
from engine.transfer.ledger.status import MigrationStatus, read_status
from engine.transfer.options import Result
from tests.e2e.copied import PROJECT, Writer
from tests.e2e.planting import Spoiler
from tests.e2e.wandb_pair import A, B, Pair, Plug
from tests.servers import RunningSandbox, running_sandbox

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refusing(Plug):
    """A server that refuses mutations of one name."""

    mutation: str | None = None

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.mutation is None or not request.path.endswith("/graphql"):
            return await handler(request)
        if self.mutation.encode() in await request.read():
            return web.json_response({"errors": [{"message": "the spec is refused"}]}, status=400)
        return await handler(request)


@dataclass
class World:
    """One report, which links to another one, on its way to places of their own."""

    pair: Pair
    plug: Refusing
    spoilers: tuple[Spoiler, Spoiler]
    project: str
    options: Options
    results: list[Result] = field(default_factory=list)

    def move(self, *, fresh: bool = False) -> Result:
        self.results.append(self.pair.move(PROJECT, self.project, Options() if fresh else self.options))
        return self.results[-1]

    def edit(self, side: int, text: str) -> None:
        """What a person does to the first block of the report, on one of the sides."""
        where = (
            "FROM views WHERE display_name = 'Findings' "
            "AND project = (SELECT number FROM projects WHERE name = ?)"
        )
        project = (PROJECT, self.project)[side]
        spec = json.loads(self.spoilers[side].value(f"SELECT spec {where}", project))
        spec["blocks"][0]["children"][0]["text"] = text
        self.spoilers[side].change(
            f"UPDATE views SET spec = ?, updated_ms = updated_ms + 1000 "
            f"WHERE number IN (SELECT number {where})",
            json.dumps(spec),
            project,
        )

    def texts(self) -> list[str]:
        """The first block of each report of this title at the destination."""
        with closing(sqlite3.connect(self.pair.target.data_dir / "records.sqlite")) as database:
            rows = database.execute(
                "SELECT v.spec FROM views v JOIN projects p ON p.number = v.project "
                "WHERE p.name = ? AND v.display_name = 'Findings'",
                (self.project,),
            ).fetchall()
        return [json.loads(spec)["blocks"][0]["children"][0]["text"] for (spec,) in rows]

    def sweep_of(self, run: str) -> str | None:
        with closing(sqlite3.connect(self.pair.target.data_dir / "records.sqlite")) as database:
            (found,) = database.execute(
                "SELECT r.sweep FROM runs r JOIN projects p ON p.number = r.project "
                "WHERE p.name = ? AND r.name = ?",
                (self.project, run),
            ).fetchone()
        return found if found is None else str(found)

    def status(self) -> MigrationStatus:
        assert self.options.state_dir is not None
        assert (self.options.state_dir / LEDGER).exists()
        (found,) = read_status(self.options.state_dir)
        return found


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[tuple[RunningSandbox, RunningSandbox, Refusing]]:
    plug = Refusing()
    with (
        running_sandbox(tmp_path_factory.mktemp("a"), accounts=[Account(A)]) as source,
        running_sandbox(tmp_path_factory.mktemp("b"), accounts=[Account(B)], intercept=plug) as target,
    ):
        Writer(source, A).fill()
        yield source, target, plug


@pytest.fixture
def world(
    servers: tuple[RunningSandbox, RunningSandbox, Refusing], tmp_path: Path, request: pytest.FixtureRequest
) -> Generator[World]:
    source, target, plug = servers
    spoilers = Spoiler(source.data_dir), Spoiler(target.data_dir)
    world = World(
        Pair(source, target, plug),
        plug,
        spoilers,
        request.node.name.removeprefix("test_")[:60],
        Options(state_dir=tmp_path / "state"),
    )
    yield world
    plug.mutation = None
    world.edit(0, "What we found")


def test_what_a_person_changed_at_the_destination_stays(world: World) -> None:
    world.move()
    world.edit(1, "by hand")
    assert world.move().failures == []
    assert world.texts() == ["by hand"]


def test_also_if_there_is_no_ledger_to_tell(world: World) -> None:
    world.move()
    world.edit(1, "by hand")
    assert world.move(fresh=True).failures == []
    assert world.texts() == ["by hand"]


def test_what_changed_at_the_source_changes_in_its_place(world: World) -> None:
    world.move()
    world.edit(0, "found later")
    changed, same = world.move(), world.move()
    assert (changed.failures, same.failures) == ([], [])
    assert (changed.counters.changes, same.counters.changes) == (1, 0), (
        "it is told that something was written"
    )
    assert world.texts() == ["found later"]


@pytest.mark.parametrize("fresh", [False, True])
def test_what_changed_on_both_sides_is_told_and_left(world: World, fresh: bool) -> None:
    world.move()
    world.edit(0, "found later")
    world.edit(1, "by hand")
    (failure,) = world.move(fresh=fresh).failures
    assert (failure.item, failure.kind, failure.side) == ("report", "Conflict", "destination")
    assert "changed at the destination since it was brought" in failure.message
    assert world.texts() == ["by hand"]


def test_when_it_is_deleted_there_that_of_the_source_comes(world: World) -> None:
    world.move()
    world.edit(0, "found later")
    world.edit(1, "by hand")
    world.move()
    assert world.status().count(Kind.REPORT, State.FAILED) == 1
    world.spoilers[1].change("DELETE FROM views WHERE display_name = 'Findings'")
    assert world.move().failures == []
    assert world.texts() == ["found later"]
    assert world.status().count(Kind.REPORT, State.FAILED) == 0


def test_a_report_that_lost_its_provenance_is_known_by_its_id(world: World) -> None:
    """As wandb-workspaces saves it: under another name, and only with what it knows of."""
    world.move()
    world.spoilers[1].change(
        "UPDATE views SET name = 'new', spec = json_remove(spec, '$._import') WHERE display_name = 'Findings'"
    )
    world.move()
    assert len(world.texts()) == 1
    world.edit(0, "found later")
    (failure,) = world.move().failures
    assert failure.kind == "Conflict"
    assert world.texts() == ["What we found"]


@pytest.mark.parametrize(("mutation", "kind"), [("UpsertView", Kind.REPORT), ("UpsertSweep", Kind.SWEEP)])
def test_what_failed_is_in_the_ledger_and_comes_the_next_time(
    world: World, mutation: str, kind: Kind
) -> None:
    world.plug.mutation = mutation
    failures = world.move().failures
    assert {failure.item for failure in failures} == {str(kind)}
    told = [(one.kind, one.cause.message) for one in world.status().failures]
    assert told == [(kind, "HTTP 400: the spec is refused")]
    (example, *_) = world.status().failures[0].examples
    assert example.subject.removeprefix(f"{A}/{PROJECT}/"), "which one it is"
    world.plug.mutation = None
    assert world.move().failures == []
    assert world.status().failures == ()
    assert world.status().count(Kind.REPORT, State.DONE) == 2
    assert world.status().count(Kind.SWEEP, State.DONE) == 1
    assert world.sweep_of("maker"), "also if the run came before its sweep"


def test_a_transfer_without_changes_does_not_look_at_the_reports_there(world: World) -> None:
    world.move()
    before: Any = world.pair.target.counters()
    assert world.move().failures == []
    assert world.pair.target.counters()["writes"] == before["writes"]
