"""Bad days of one of the two servers, or of both: the copy is the one of a good day."""

from __future__ import annotations

import pytest

from tests.e2e.bad_days import ALONE, AT_ONCE, READING, READING_AT_ONCE, rehearsed
from tests.e2e.everything.copies import Copies
from tests.e2e.everything.sdk_world import LINEAGE
from tests.servers import RunningSandbox

WRITING_QUICKLY = ("SlowDown beyond a rate", "an outage by 503")
READING_QUICKLY = ("lists that are cut off", "resets in downloads")


def arrives_as_on_a_good_day(
    copies: Copies, server: RunningSandbox, rules: list[str], seed: int, project: str = ""
) -> None:
    expected, copy = copies.undisturbed(project), copies.of(project)
    with rehearsed(server, rules, seed) as told:
        ended = copy.run()
    assert ended.status == 0, ended.said
    # Of several, one may find nothing left to act on; a client that is told of a quota need not run into it.
    assert any(rule["acted"] or "quota" in rule["rule"] for rule in told), told
    assert copy.arrived() == expected.arrived
    copy.is_all_done()


@pytest.mark.parametrize("name", WRITING_QUICKLY)
def test_faults_of_the_destination_change_nothing_that_arrives(copies: Copies, name: str) -> None:
    arrives_as_on_a_good_day(copies, copies.rehearsal.sandbox, ALONE[name], 1, LINEAGE)


@pytest.mark.parametrize("name", READING_QUICKLY)
def test_faults_of_the_source_change_nothing_that_arrives(copies: Copies, name: str) -> None:
    arrives_as_on_a_good_day(copies, copies.source, READING[name], 1, LINEAGE)


@pytest.mark.parametrize("after", [0, 1])
def test_what_was_done_without_an_answer_is_not_done_again(copies: Copies, after: int) -> None:
    assert copies.undisturbed().arrived
    counted = copies.rehearsal.sandbox.counters()
    mutations = [kind.rpartition(".")[2] for kind in counted if kind.startswith("graphql Mutation.")]
    assert {"upsertSweep", "upsertView", "commitArtifact", "linkArtifact", "deleteRun"} <= {*mutations}
    rules = [f"graphql {mutation}: lose-answer once after {after} requests" for mutation in mutations]
    arrives_as_on_a_good_day(copies, copies.rehearsal.sandbox, rules, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 3))
@pytest.mark.parametrize("name", [*ALONE, *AT_ONCE])
def test_so_it_is_with_all_faults_of_the_destination(copies: Copies, name: str, seed: int) -> None:
    arrives_as_on_a_good_day(copies, copies.rehearsal.sandbox, {**ALONE, **AT_ONCE}[name], seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 3))
@pytest.mark.parametrize("name", [*READING, *READING_AT_ONCE])
def test_so_it_is_with_all_faults_of_the_source(copies: Copies, name: str, seed: int) -> None:
    arrives_as_on_a_good_day(copies, copies.source, {**READING, **READING_AT_ONCE}[name], seed)
