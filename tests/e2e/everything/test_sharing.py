"""Two engines divide a copy: both end well, and it is the copy that one alone would have made."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.bad_days import rehearsed
from tests.e2e.crashing import Moment
from tests.e2e.everything.copies import Copies
from tests.e2e.everything.sdk_world import LINEAGE, RUNS
from tests.postgresql import running_postgresql

UNHURRIED = ["graphql: delay 20ms p99 150ms"]
"""So that neither engine is through before the other has begun."""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """How to name the ledger: none for the file in the state directory."""
    if request.param == "sqlite":
        yield ()
        return
    with running_postgresql(tmp_path / "database") as uri:
        yield ("--ledger", uri)


def test_two_engines_bring_everything(copies: Copies, ledger: tuple[str, ...]) -> None:
    expected, copy = copies.undisturbed(), copies.of("", *ledger, "--concurrency", "2")
    with rehearsed(copies.rehearsal.sandbox, UNHURRIED, 1):
        ended = copy.share()
    assert [one.status for one in ended] == [0, 0], "\n".join(one.said for one in ended)
    told = [next(event for event in one.events if event["type"] == "finished") for one in ended]
    assert sum(one["runs_done"] for one in told) == RUNS
    assert min(one["files"] for one in told) > 0, "both had a share"
    assert copy.arrived() == expected.arrived
    copy.is_all_done(*ledger)


def kills(copies: Copies, project: str, ledger: tuple[str, ...], seed: int, moments: int) -> None:
    expected, draw = copies.undisturbed(project), random.Random(seed)
    killed = transfers = 0
    while killed < moments:
        moment, copy = Moment.draw(draw, expected.requests), copies.of(project, *ledger)
        doomed, heir = copy.share(moment)
        told = f"seed {seed}: {moment}\n{doomed.said}\n{heir.said}"
        assert doomed.was_killed or doomed.status == 0, told
        assert heir.status == 0, told
        assert copy.arrived() == expected.arrived, told
        copy.is_all_done(*ledger)
        killed, transfers = killed + doomed.was_killed, transfers + 1
    print(f"seed {seed}: one of two killed {killed} times in {transfers} transfers")


def test_what_a_killed_engine_had_in_hand_is_brought_by_the_other(
    copies: Copies, ledger: tuple[str, ...]
) -> None:
    kills(copies, LINEAGE, ledger, secrets.randbelow(10**6), moments=2)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_so_it_is_at_many_moments_of_everything(copies: Copies, ledger: tuple[str, ...]) -> None:
    kills(copies, "", ledger, secrets.randbelow(10**6), moments=30)
