"""Collections that engines which share a transfer divide: who waits for whom, and what a dead one leaves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from engine.records import Collection, Namespace, Portfolio, Receipt
from engine.transfer.engine import Engine
from engine.transfer.events import Progress
from engine.transfer.ledger.store import sqlite_url
from engine.transfer.options import Options, Result
from tests.transfer.shelves import Rack, RackWriter, Shelf, collection, shelf, version

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


@dataclass
class Gate:
    """Where an engine stands until it is let through."""

    reached: anyio.Event = field(default_factory=anyio.Event)
    opened: anyio.Event = field(default_factory=anyio.Event)


@dataclass
class GatedRack(Rack):
    """A rack at which one thing takes until somebody lets it happen."""

    at: str = ""
    gate: Gate = field(default_factory=Gate)  # type: ignore[assignment]

    async def open_collection(self, collection: Collection, namespace: Namespace) -> RackWriter:
        await self._stand_at(f"open {collection.name}")
        return await super().open_collection(collection, namespace)

    async def write_portfolio(self, portfolio: Portfolio, *, whole: bool) -> Receipt:
        await self._stand_at(f"link {portfolio.collection.name}")
        return await super().write_portfolio(portfolio, whole=whole)

    async def learn_ids(self) -> None:
        self.asked.append("learn ids")

    async def _stand_at(self, what: str) -> None:
        if what == self.at:
            self.gate.reached.set()
            await self.gate.opened.wait()


@dataclass
class Sharer:
    """An engine at work."""

    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    result: Result | None = None
    waited_for: set[str] = field(default_factory=set)
    drain: Callable[[], None] = lambda: None

    @property
    def failed(self) -> list[str]:
        assert self.result is not None
        return [failure.subject for failure in self.result.failures]


@dataclass
class Sharers:
    """Engines that share a transfer, each in a task of its own."""

    group: anyio.abc.TaskGroup
    ledger: Path

    def start(self, source: Shelf, rack: Rack) -> Sharer:
        sharer = Sharer()
        self.group.start_soon(self._run, sharer, source, rack)
        return sharer

    async def _run(self, sharer: Sharer, source: Shelf, rack: Rack) -> None:
        options = Options(share=True, ledger=sqlite_url(self.ledger), artifact_workers=1)
        with sharer.scope:
            async with Engine(source, rack, options) as engine:
                sharer.drain = engine.drain
                async for event in engine.events():
                    if isinstance(event, Progress):
                        sharer.waited_for.update(event.waiting)
                sharer.result = await engine.run()


@asynccontextmanager
async def sharing(directory: Path) -> AsyncGenerator[Sharers]:
    """All engines are through when the block has ended."""
    async with anyio.create_task_group() as group:
        yield Sharers(group, directory / "ledger.sqlite")


def pages(*names: str) -> dict[str, Portfolio]:
    return {name: Portfolio(collection=collection(name)) for name in names}


async def until_asked(rack: Rack, what: str, times: int = 1) -> None:
    while rack.asked.count(what) < times:  # noqa: ASYNC110 - engines in other tasks
        await anyio.sleep(0.01)


async def test_a_collection_waits_for_what_another_engine_has_in_hand(tmp_path: Path):
    source = shelf({"a": [version("a", 0)], "b": [version("b", 0)], "c": [version("c", 0)]})
    rack = GatedRack(needs={"a:v0": "b:v0"})
    slow = replace(rack, at="open b")
    async with sharing(tmp_path) as sharers:
        first = sharers.start(replace(source, shelves={"b": source.shelves["b"]}), slow)
        await slow.gate.reached.wait()
        second = sharers.start(source, rack)
        # It has been through the whole list, and then looked at it again.
        await until_asked(rack, "finish c of 1")
        await anyio.sleep(1.5)
        assert second.result is None
        slow.gate.opened.set()
    assert (first.failed, second.failed) == ([], [])
    assert any("1 collections in hand at process" in told for told in second.waited_for)
    assert rack.held == {"a": {0: "a0"}, "b": {0: "b0"}, "c": {0: "c0"}}
    assert sorted(what for what in rack.asked if what.startswith("write")) == [
        "write a:v0",
        "write b:v0",
        "write c:v0",
    ]


async def test_versions_come_when_it_is_known_which_ids_others_gave_to_runs(tmp_path: Path):
    rack = GatedRack()
    async with sharing(tmp_path) as sharers:
        sharers.start(shelf({"a": [version("a", 0)]}), rack)
    assert rack.asked == ["learn ids", "write a:v0", "finish a of 1"]


async def test_collections_of_two_engines_that_wait_for_each_other_arrive(tmp_path: Path):
    shelves = {name: [version(name, number) for number in range(3)] for name in "ab"}
    needs = {"b:v0": "a:v0", "a:v1": "b:v0", "b:v1": "a:v1", "a:v2": "b:v1", "b:v2": "a:v2"}
    rack = GatedRack(needs=needs)
    slow = replace(rack, at="open b")
    async with sharing(tmp_path) as sharers:
        first = sharers.start(shelf({name: shelves[name] for name in "ba"}), slow)
        await slow.gate.reached.wait()
        second = sharers.start(shelf(shelves), rack)
        await until_asked(rack, "write a:v0")
        slow.gate.opened.set()
    assert (first.failed, second.failed) == ([], [])
    assert rack.held == {name: {number: f"{name}{number}" for number in range(3)} for name in "ab"}


async def test_what_never_comes_is_told_once_and_nobody_waits_for_ever(tmp_path: Path):
    source = shelf({name: [version(name, 0)] for name in "abc"})
    rack = GatedRack(needs={"a:v0": "b:v0", "b:v0": "a:v0"})
    slow = replace(rack, at="open c")
    async with sharing(tmp_path) as sharers:
        both = [sharers.start(source, slow)]
        await slow.gate.reached.wait()
        # One that begins when the other has ended tries what failed once more.
        both.append(sharers.start(source, rack))
        await until_asked(rack, "learn ids", 2)
        slow.gate.opened.set()
    failed = [subject for sharer in both for subject in sharer.failed]
    assert sorted(failed) == ["artifact a:v0 of vision", "artifact b:v0 of vision"]
    assert rack.held == {"c": {0: "c0"}}


@pytest.mark.parametrize("at", ["open b", "open a"], ids=["what others wait for", "what waits"])
async def test_what_an_engine_that_is_gone_had_in_hand_is_brought(tmp_path: Path, at: str):
    source = shelf({"a": [version("a", 0)], "b": [version("b", 0)]})
    rack = GatedRack(needs={"a:v0": "b:v0"})
    slow = replace(rack, at=at)
    async with sharing(tmp_path) as sharers:
        doomed = sharers.start(shelf({name: source.shelves[name] for name in "ba"}), slow)
        await slow.gate.reached.wait()
        heir = sharers.start(source, rack)
        await anyio.sleep(1.5)
        assert heir.result is None
        doomed.scope.cancel()
    assert heir.failed == []
    assert rack.held == {"a": {0: "a0"}, "b": {0: "b0"}}


async def test_what_an_engine_that_is_interrupted_leaves_is_brought_by_another(tmp_path: Path):
    source = shelf({"a": [version("a", number) for number in range(2)]})
    rack = GatedRack()
    slow = replace(rack, at="open a")
    async with sharing(tmp_path) as sharers:
        first = sharers.start(source, slow)
        await slow.gate.reached.wait()
        heir = sharers.start(source, rack)
        await until_asked(rack, "learn ids", 2)
        first.drain()
        slow.gate.opened.set()
    assert first.result is not None
    assert first.result.interrupted
    assert heir.failed == []
    assert rack.held == {"a": {0: "a0", 1: "a1"}}


async def test_links_that_an_engine_does_not_live_to_make_are_made_by_another(tmp_path: Path):
    """Also those into a registry of which only the versions tell that the dead one brought."""
    source = shelf(
        {"a": [version("a", 0, portfolios=["registry"])]},
        linked=pages("picks", "registry"),
        listed=("picks",),
    )
    rack = GatedRack()
    slow = replace(rack, at="link picks")
    async with sharing(tmp_path) as sharers:
        doomed = sharers.start(source, slow)
        await slow.gate.reached.wait()
        heir = sharers.start(source, rack)
        await until_asked(rack, "link registry")
        assert heir.result is None
        doomed.scope.cancel()
    assert heir.failed == []
    assert [what for what in rack.asked if what != "learn ids"] == [
        "write a:v0",
        "finish a of 1",
        "link registry",
        "link picks",
    ]
