"""What a transfer promises of collections of artifact versions, whatever the systems on its two sides are."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import CommError, IntegrityError, NotFound, Side
from engine.records import Portfolio
from engine.transfer.engine import Engine
from engine.transfer.options import Options, Result
from tests.transfer.shelves import Rack, Shelf, collection, shelf, version

pytestmark = pytest.mark.anyio

LOST = NotFound("lost", side=Side.SOURCE)


async def transfer(source: Shelf, rack: Rack, options: Options | None = None) -> Result:
    # One collection at a time, so that the order can be told.
    async with Engine(source, rack, options or Options(artifact_workers=1)) as engine:
        return await engine.run()


def told(result: Result) -> list[tuple[str, str]]:
    return [(failure.item, failure.subject) for failure in result.failures]


async def test_versions_come_in_their_order_and_what_is_said_of_them_last():
    rack = Rack()
    result = await transfer(shelf({"c": [version("c", 0), version("c", 2)]}), rack)
    assert result.failures == []
    assert rack.asked == ["write c:v0", "write c:v2", "finish c of 2"]


async def test_a_version_that_fails_holds_back_those_after_it():
    rack = Rack(faults={"c:v1": CommError("refused", side=Side.DESTINATION)})
    result = await transfer(shelf({"c": [version("c", number) for number in range(3)]}), rack)
    assert told(result) == [
        ("artifact", "artifact c:v1 of vision"),
        ("artifact", "artifact c:v2 of vision"),
    ]
    assert "it waits for v1" in result.failures[1].message
    assert rack.held == {"c": {0: "c0"}}


async def test_where_numbers_do_not_come_from_the_order_no_version_waits():
    rack = Rack(faults={"c:v1": CommError("refused", side=Side.DESTINATION)}, in_order=False)
    result = await transfer(shelf({"c": [version("c", number) for number in range(3)]}), rack)
    assert told(result) == [("artifact", "artifact c:v1 of vision")]
    assert rack.held == {"c": {0: "c0", 2: "c2"}}


@pytest.mark.parametrize(
    "error", [LOST, IntegrityError("damaged", side=Side.SOURCE)], ids=["lost", "damaged"]
)
async def test_a_version_that_the_source_will_never_have_holds_back_nothing(error: Exception):
    rack = Rack()
    source = shelf({"c": [version("c", number) for number in range(3)]}, faults={"c:v1": error})
    result = await transfer(source, rack)
    assert told(result) == [("artifact", "artifact c:v1 of vision")]
    assert rack.held == {"c": {0: "c0", 2: "c2"}}


async def test_a_collection_that_cannot_be_read_fails_alone():
    rack = Rack()
    source = shelf({"a": [version("a", 0)], "b": [version("b", 0)]}, faults={"collection:a": LOST})
    assert told(await transfer(source, rack)) == [("collection", "artifact a of vision")]
    assert rack.held == {"b": {0: "b0"}}


async def test_collections_that_refer_to_others_wait_for_them():
    rack = Rack(needs={"a:v1": "b:v0", "b:v0": "c:v0"})
    source = shelf({"a": [version("a", 0), version("a", 1)], "b": [version("b", 0)], "c": [version("c", 0)]})
    assert (await transfer(source, rack)).failures == []
    assert rack.held == {"a": {0: "a0", 1: "a1"}, "b": {0: "b0"}, "c": {0: "c0"}}


async def test_those_that_wait_for_each_other_are_told_in_the_end():
    rack = Rack(needs={"a:v0": "b:v0", "b:v0": "a:v0"})
    result = await transfer(shelf({"a": [version("a", 0)], "b": [version("b", 0)]}), rack)
    assert sorted(told(result)) == [
        ("artifact", "artifact a:v0 of vision"),
        ("artifact", "artifact b:v0 of vision"),
    ]


async def test_what_arrived_is_not_asked_for_again(tmp_path: Path):
    options = Options(state_dir=tmp_path)
    source = shelf({"c": [version("c", 0)]})
    await transfer(source, Rack(), options)
    rack = Rack()
    await transfer(source, rack, options)
    assert rack.asked == []
    source.shelves["c"].append(version("c", 1))
    await transfer(source, rack, options)
    assert rack.asked == ["write c:v1", "finish c of 2"]


async def test_a_version_with_another_digest_is_another_version(tmp_path: Path):
    options = Options(state_dir=tmp_path)
    source, rack = shelf({"c": [version("c", 0)]}), Rack()
    await transfer(source, rack, options)
    source.shelves["c"] = [version("c", 0, "other")]
    assert told(await transfer(source, rack, options)) == [("artifact", "artifact c:v0 of vision")]


# -- made anew


async def test_a_collection_that_has_to_be_made_anew_gets_all_versions(tmp_path: Path):
    """Also those of which the ledger knows that they arrived."""
    options = Options(state_dir=tmp_path)
    source, rack = shelf({"c": [version("c", 0), version("c", 1)]}), Rack()
    await transfer(source, rack, options)
    rack.stale.add("c")
    rack.asked.clear()
    source.shelves["c"].append(version("c", 2))
    assert (await transfer(source, rack, options)).failures == []
    assert rack.asked == ["delete c", "write c:v0", "write c:v1", "write c:v2", "finish c of 3"]


async def test_what_was_deleted_is_not_taken_to_be_there_by_a_later_transfer(tmp_path: Path):
    options = Options(state_dir=tmp_path)
    source, rack = shelf({"c": [version("c", 0), version("c", 1)]}), Rack()
    await transfer(source, rack, options)
    rack.stale.add("c")
    source.shelves["c"].append(version("c", 2))
    rack.faults["c:v1"] = CommError("refused", side=Side.DESTINATION)
    assert (await transfer(source, rack, options)).failure_count == 2
    rack.faults.clear()
    assert (await transfer(source, rack, options)).failures == []
    assert rack.held == {"c": {0: "c0", 1: "c1", 2: "c2"}}


# -- links


def linked(*names: str) -> dict[str, Portfolio]:
    return {name: Portfolio(collection=collection(name)) for name in names}


async def test_links_come_after_all_versions_each_portfolio_once():
    rack = Rack()
    source = shelf(
        {"a": [version("a", 0, portfolios=["picks", "registry"])], "b": [version("b", 0)]},
        linked=linked("picks", "registry"),
        listed=("picks",),
    )
    assert (await transfer(source, rack)).failures == []
    assert rack.asked == [
        "write a:v0",
        "finish a of 1",
        "write b:v0",
        "finish b of 1",
        "link picks",
        "link registry",
    ]


async def test_links_are_compared_each_time(tmp_path: Path):
    options = Options(state_dir=tmp_path)
    source = shelf({}, linked=linked("picks"), listed=("picks",))
    await transfer(source, Rack(), options)
    rack = Rack()
    await transfer(source, rack, options)
    assert rack.asked == ["link picks"]


@pytest.mark.parametrize("side", ["source", "destination"])
async def test_a_portfolio_fails_alone(side: str):
    error = CommError("refused")
    rack = Rack(faults={"link:a": error} if side == "destination" else {})
    source = shelf(
        {},
        linked=linked("a", "b"),
        listed=("a", "b"),
        faults={"portfolio:a": error} if side == "source" else {},
    )
    assert told(await transfer(source, rack)) == [("portfolio", "portfolio vision/a")]
    assert rack.asked == ["link b"]


async def test_without_artifacts_there_are_no_links():
    rack = Rack()
    source = shelf({"c": [version("c", 0)]}, linked=linked("picks"), listed=("picks",))
    await transfer(source, rack, Options(artifacts=False))
    assert rack.asked == []
