"""Collections whose versions cannot have their numbers: only ``--recreate`` deletes anything for them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from engine import Options
from engine.errors import Problem, Severity
from engine.transfer.planning.plan import Plan
from tests.e2e.by_hand import at_destination, at_source, delete, log, versions
from tests.e2e.transfers import Outcome, command
from tests.e2e.wandb_pair import A, B, Pair, running_pair

THREE = [("c", 0, None), ("c", 1, None), ("c", 2, "latest")]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pair]:
    with running_pair(tmp_path_factory) as pair:
        yield pair


def plan(pair: Pair, project: str, *, recreate: bool) -> Plan:
    async def run() -> Plan:
        return await pair.engine(project, project, Options(), recreate=recreate).plan()

    return anyio.run(run)


def told(pair: Pair, project: str, *, recreate: bool) -> Problem:
    (problem,) = [one for one in plan(pair, project, recreate=recreate).warnings if "collection" in one.kind]
    assert problem.severity is Severity.WARNING
    return problem


def engine(pair: Pair, name: str, project: str, *arguments: str) -> Outcome:
    """A command of the command line, between the two servers."""
    return command(
        name,
        f"wandb:{pair.source.url}/{A}/{project}",
        f"wandb:{pair.target.url}/{B}/{project}",
        "--source-api-key-env",
        "KEY_A",
        "--dest-api-key-env",
        "KEY_B",
        *arguments,
        environ={"KEY_A": pair.source.api_key, "KEY_B": pair.target.api_key},
    )


def taken(pair: Pair, project: str) -> None:
    """Others have a collection of the same name at the destination."""
    log(at_source(pair, project), "c", "0", "1", "2")
    log(at_destination(pair, project), "c", "theirs", "too", run="own")


def test_without_it_a_clear_error_names_the_version_and_nothing_is_touched(pair: Pair) -> None:
    taken(pair, "kept")
    before = versions(pair, "kept")
    result = pair.move("kept", "kept")
    first = next(failure for failure in result.failures if failure.item == "artifact")
    assert "cannot have its number 0: another version has it [artifact bob/kept/c:v0]" in first.message
    assert "--recreate" in first.message
    assert versions(pair, "kept") == before


def test_with_it_the_collection_is_made_anew(pair: Pair) -> None:
    taken(pair, "anew")
    result = pair.move("anew", "anew", recreate=True)
    assert result.failures == []
    assert versions(pair, "anew") == THREE
    (loss,) = result.loss_examples["collection_recreated"]
    assert (loss.subject, loss.detail) == (
        "artifact bob/anew/c",
        "2 versions that were there were deleted",
    )


def test_numbers_that_were_used_up_are_free_again(pair: Pair) -> None:
    log(at_source(pair, "used"), "c", "0", "1", "2")
    own = at_destination(pair, "used")
    log(own, "c", "theirs", run="own")
    delete(pair.target, own, "c:v0")
    assert pair.move("used", "used", recreate=True).failures == []
    assert versions(pair, "used") == THREE


def test_a_collection_of_another_type_gives_way(pair: Pair) -> None:
    log(at_source(pair, "typed"), "c", "0", "1", "2")
    log(at_destination(pair, "typed"), "c", "theirs", run="own", artifactTypeName="model")
    (failure,) = pair.move("typed", "typed").failures
    assert "its name belongs to a collection of type 'model', not 'dataset'" in failure.message
    assert "--recreate" in failure.message
    assert pair.move("typed", "typed", recreate=True).failures == []
    assert versions(pair, "typed") == THREE


def test_a_collection_of_links_never_does(pair: Pair) -> None:
    log(at_source(pair, "links"), "c", "0")
    own = at_destination(pair, "links")
    log(own, "other", "theirs", run="own")
    version_id = own.membership("other:v0")["artifact"]["id"]
    pair.target.graphql(
        "mutation ($i: LinkArtifactInput!) { linkArtifact(input: $i) { versionIndex } }",
        i={"artifactPortfolioName": "c", "entityName": B, "projectName": "links", "artifactID": version_id},
    )
    (failure,) = pair.move("links", "links", recreate=True).failures
    assert "belongs to a collection of links" in failure.message
    assert "--recreate" not in failure.message
    assert ("c", 0, "latest") in versions(pair, "links")


def test_what_the_ledger_knows_comes_again_too(pair: Pair, tmp_path: Path) -> None:
    """Somebody replaced the collection at the destination; only a new version at the source shows it."""
    source, options = at_source(pair, "replaced"), Options(state_dir=tmp_path)
    log(source, "c", "0", "1")
    pair.move("replaced", "replaced", options)
    log(at_destination(pair, "replaced"), "c", "theirs", run="own")
    log(source, "c", "2")
    assert pair.move("replaced", "replaced", options).failures != []
    assert pair.move("replaced", "replaced", options, recreate=True).failures == []
    assert versions(pair, "replaced") == THREE
    before = pair.target.counters()["writes"]
    # The run goes on, so that it is written each time.
    options = replace(options, runs=False)
    assert pair.move("replaced", "replaced", options, recreate=True).failures == []
    assert pair.target.counters()["writes"] == before


@pytest.mark.parametrize("at", [1, 4, 9, 14])
def test_pulling_the_plug_after_it_was_deleted_changes_nothing(pair: Pair, tmp_path: Path, at: int) -> None:
    project, options = f"killed-{at}", Options(state_dir=tmp_path)
    source = at_source(pair, project)
    log(source, "c", "0", "1")
    pair.move(project, project, options)
    log(at_destination(pair, project), "c", "theirs", run="own")
    log(source, "c", "2")
    assert pair.interrupt(project, project, options, at, b"Artifact", recreate=True)
    assert pair.move(project, project, options, recreate=True).failures == []
    assert versions(pair, project) == THREE


def test_a_plan_tells_what_stands_in_the_way_and_what_would_be_deleted(pair: Pair) -> None:
    taken(pair, "planned")
    before = versions(pair, "planned"), pair.target.counters()["writes"]
    problem = told(pair, "planned", recreate=False)
    assert problem.kind == "collection_conflict"
    assert "v0 cannot have its number: another version has it, and so for 1 more" in problem.message
    assert problem.subject == "artifact bob/planned/c"
    problem = told(pair, "planned", recreate=True)
    assert problem.kind == "collection_recreated"
    assert "what is there would be deleted (2 versions)" in problem.message
    assert (versions(pair, "planned"), pair.target.counters()["writes"]) == before


def test_a_plan_has_nothing_to_tell_of_what_is_there_already(pair: Pair) -> None:
    log(at_source(pair, "fine"), "c", "0", "1")
    pair.move("fine", "fine")
    assert [one for one in plan(pair, "fine", recreate=True).warnings if "collection" in one.kind] == []


def test_the_command_line_has_it(pair: Pair) -> None:
    taken(pair, "commanded")
    shown = engine(pair, "plan", "commanded", "--recreate")
    assert "what is there would be deleted (2 versions)" in shown.text
    assert engine(pair, "migrate", "commanded").status == 1
    assert engine(pair, "migrate", "commanded", "--recreate").status == 0
    assert versions(pair, "commanded") == THREE
