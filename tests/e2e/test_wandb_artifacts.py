"""Artifacts of one W&B server arrive on another as they were: the official SDK writes, and reads both."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from engine import Options, Selection, open_destination, open_source
from engine.protocols import SystemOptions
from engine.transfer.options import Result
from engine.verify.findings import Level
from engine.verify.verifier import Verifier, VerifyOptions
from engine.wandb.reading import documents, uses
from tests.e2e.by_hand import RUN, at_destination, at_source, delete, log, versions
from tests.e2e.sdk_artifacts import SeenCollection, seen
from tests.e2e.sdk_lineage import PROJECT
from tests.e2e.wandb_pair import A, B, Pair, api_of, name_of, running_pair
from tests.sandbox.artifact_writer import ArtifactWriter
from tests.wandb.conftest import run_sdk


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pair]:
    with running_pair(tmp_path_factory) as pair:
        run_sdk("tests.e2e.sdk_lineage", pair.source, tmp_path_factory.mktemp("sdk"))
        yield pair


@pytest.fixture(scope="module")
def arrived(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> tuple[Options, Result]:
    options = Options(state_dir=tmp_path_factory.mktemp("state"))
    result = pair.move(PROJECT, PROJECT, options)
    assert result.failures == []
    return options, result


@pytest.fixture(scope="module")
def there(pair: Pair) -> dict[str, SeenCollection]:
    return seen(api_of(pair.source), f"{A}/{PROJECT}")


@pytest.fixture(scope="module")
def here(pair: Pair, arrived: tuple[Options, Result]) -> dict[str, SeenCollection]:
    return seen(api_of(pair.target), f"{B}/{PROJECT}")


def test_each_collection_is_the_same(
    there: dict[str, SeenCollection], here: dict[str, SeenCollection]
) -> None:
    assert here == there


def test_versions_keep_their_numbers(here: dict[str, SeenCollection]) -> None:
    numbers = {name: [version.number for version in one.versions] for name, one in here.items()}
    assert numbers["ds"] == ["v0", "v3", "v4", "v5", "v6"]
    assert numbers["late"] == ["v3"]


def test_nothing_that_only_kept_numbers_is_left(pair: Pair, here: dict[str, SeenCollection]) -> None:
    assert here
    runs = {run.id for run in api_of(pair.target).runs(f"{B}/{PROJECT}")}
    assert runs == {"producer", "referring", "consumer", "trainer"}


def test_versions_of_runs_that_are_gone_are_told(arrived: tuple[Options, Result]) -> None:
    assert arrived[1].losses["producer_missing"] == 2  # ds:v6 and orphan:v0


def test_the_second_and_the_third_transfer_write_nothing(pair: Pair, arrived: tuple[Options, Result]) -> None:
    for _ in range(2):
        before = pair.target.counters()["writes"]
        assert pair.move(PROJECT, PROJECT, arrived[0]).exit_status == 0
        assert pair.target.counters()["writes"] == before


@pytest.mark.usefixtures("arrived")
def test_what_rows_and_summaries_say_of_artifacts_is_understood(pair: Pair) -> None:
    for server, entity in ((pair.source, A), (pair.target, B)):
        run = api_of(server).run(f"{entity}/{PROJECT}/producer")
        told = [row["table"] for row in run.scan_history() if row.get("table")] + [run.summary["table"]]
        assert len(told) == 2
        for table in told:
            assert name_of(server, table["artifact_path"]) == "run-producer-table:v0"
            assert name_of(server, table["_latest_artifact_path"]) == "run-producer-table"


_INPUTS = """query ($e: String!, $p: String!) { project(entityName: $e, name: $p) { run(name: "trainer") {
    inputArtifacts { edges { usedAs node { versionIndex artifactSequence { name } } } } } } }"""


@pytest.mark.usefixtures("arrived")
def test_runs_used_versions_under_the_same_names(pair: Pair) -> None:
    for server, entity in ((pair.source, A), (pair.target, B)):
        run = server.graphql(_INPUTS, e=entity, p=PROJECT)["project"]["run"]
        told = {
            f"{edge['node']['artifactSequence']['name']}:v{edge['node']['versionIndex']}": edge["usedAs"]
            for edge in run["inputArtifacts"]["edges"]
        }
        # The SDK gives the name of the artifact where it is told none.
        assert told == {
            "ds:v0": ["training data", "validation data"],
            "ds:v3": [],
            "late:v3": ["late:v3"],
        }


_USE = """mutation ($input: UseArtifactInput!) { useArtifact(input: $input) { artifact { id } } }"""


def used(pair: Pair, project: str, count: int) -> list[tuple[str, str, int, str]]:
    """Versions that one run uses at the source, each under a name of its own, as they have to arrive."""
    artifacts = at_source(pair, project)
    log(artifacts, "c", *map(str, range(count)))
    for number in range(count):
        version = artifacts.membership(f"c:v{number}")["artifact"]["id"]
        where = {"entityName": A, "projectName": project, "runName": "r"}
        pair.source.graphql(_USE, input={**where, "artifactID": version, "usedAs": f"part {number}"})
    return [("r", "c", number, f"part {number}") for number in range(count)]


def test_a_run_with_many_inputs_is_asked_for_all_of_them(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uses, "INPUTS_PER_PAGE", 2)
    wanted = used(pair, "many-inputs", 5)
    assert pair.move("many-inputs", "many-inputs").failures == []
    assert pair.holds("many-inputs")["uses"] == wanted


def test_where_a_server_does_not_tell_the_names_that_is_told(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = used(pair, "nameless", 1)
    unknown = documents.INPUTS_OF_RUNS.replace("usedAs", "notKnownToThisServer")
    monkeypatch.setattr(documents, "INPUTS_OF_RUNS", unknown)
    result = pair.move("nameless", "nameless")
    assert result.failures == []
    assert result.losses["use_name_dropped"] > 0
    assert pair.holds("nameless")["uses"] == [(*use[:3], "") for use in wanted]


@pytest.mark.usefixtures("arrived")
def test_without_a_ledger_all_is_found_to_be_there(pair: Pair) -> None:
    before = pair.holds(PROJECT)
    assert pair.move(PROJECT, PROJECT).failures == []
    assert pair.holds(PROJECT) == before


@pytest.mark.usefixtures("arrived")
def test_a_verification_by_bytes_finds_nothing(pair: Pair) -> None:
    origin, goal = pair.source, pair.target
    verifier = Verifier(
        open_source(f"wandb:{origin.url}/{A}/{PROJECT}", SystemOptions(api_key=origin.api_key)),
        open_destination(f"wandb:{goal.url}/{B}/{PROJECT}", SystemOptions(api_key=goal.api_key)),
        VerifyOptions(level=Level.DEEP),
    )
    findings = anyio.run(verifier.run)
    assert [str(difference) for difference in findings.differences] == []
    assert findings.not_verified == []
    assert findings.declared.counts["producer_missing"] == 2
    assert findings.counts.collections > 5


@pytest.mark.usefixtures("arrived")
@pytest.mark.parametrize("at", range(20, 160, 27))
def test_pulling_the_plug_changes_nothing(pair: Pair, tmp_path: Path, at: int) -> None:
    options, project = Options(state_dir=tmp_path), f"killed-{at}"
    assert pair.interrupt(PROJECT, project, options, at)
    assert pair.move(PROJECT, project, options).failures == []
    assert pair.holds(project) == pair.holds(PROJECT)


# -- what the source does between two transfers


def test_later_versions_are_added_also_after_new_gaps(pair: Pair, tmp_path: Path) -> None:
    artifacts, options = at_source(pair, "grows"), Options(state_dir=tmp_path)
    log(artifacts, "c", "0", "1")
    pair.move("grows", "grows", options)
    log(artifacts, "c", "2", "3", "4")
    delete(pair.source, artifacts, "c:v3")
    assert pair.move("grows", "grows", options).failures == []
    assert versions(pair, "grows") == [("c", 0, None), ("c", 1, None), ("c", 2, None), ("c", 4, "latest")]


def test_what_was_deleted_at_the_source_stays_at_the_destination(pair: Pair, tmp_path: Path) -> None:
    artifacts, options = at_source(pair, "shrinks"), Options(state_dir=tmp_path)
    log(artifacts, "c", "0", "1")
    pair.move("shrinks", "shrinks", options)
    delete(pair.source, artifacts, "c:v0")
    pair.move("shrinks", "shrinks", options)
    assert versions(pair, "shrinks") == [("c", 0, None), ("c", 1, "latest")]


def test_a_number_that_is_taken_is_told_and_nothing_is_deleted(pair: Pair) -> None:
    log(at_source(pair, "taken"), "c", "0", "1")
    log(at_destination(pair, "taken"), "c", "mine", run="own")
    result = pair.move("taken", "taken")
    told = [failure.message for failure in result.failures if failure.item == "artifact"]
    assert "cannot have its number 0: another version has it" in told[0]
    assert "waits for v0" in told[1]
    assert [(name, number) for name, number, _ in versions(pair, "taken")] == [("c", 0)]


def test_numbers_that_the_destination_has_used_up_are_told(pair: Pair) -> None:
    log(at_source(pair, "used-up"), "c", "0")
    own = at_destination(pair, "used-up")
    log(own, "c", "mine", run="own")
    delete(pair.target, own, "c:v0")
    result = pair.move("used-up", "used-up")
    (told,) = [failure.message for failure in result.failures if failure.item == "artifact"]
    assert "cannot have its number 0: the server gave it 1" in told
    assert versions(pair, "used-up") == []


def test_a_selection_of_runs_moves_the_collections_that_they_logged_to(pair: Pair) -> None:
    log(at_source(pair, "chosen"), "c", "0")
    pair.source.graphql(RUN, p="chosen", r="own")
    log(ArtifactWriter(pair.source, "chosen", entity=A), "d", "d", run="own")
    pair.move("chosen", "chosen", Options(selection=Selection(filter='{"name": "own"}')))
    assert versions(pair, "chosen") == [("d", 0, "latest")]


def test_a_version_that_is_damaged_at_the_source_is_left_out_alone(pair: Pair) -> None:
    log(at_source(pair, "damaged"), "c", "0", "1", "2")
    with closing(sqlite3.connect(pair.source.data_dir / "records.sqlite")) as records, records:
        damaged = (
            "(SELECT m.artifact FROM artifact_memberships m JOIN artifact_collections c "
            "ON c.number = m.collection JOIN projects p ON p.number = c.project "
            "WHERE p.name = 'damaged' AND m.version_index = 1)"
        )
        # One of the two may differ for a good reason, see ``engine.wandb.reading.manifests``.
        records.execute(f"UPDATE artifacts SET digest = 'ffff' WHERE number = {damaged}")
        records.execute(f"UPDATE artifact_manifests SET digest = 'ffff' WHERE artifact = {damaged}")
    result = pair.move("damaged", "damaged")
    (told,) = [failure for failure in result.failures if failure.item == "artifact"]
    assert (told.kind, told.side) == ("IntegrityError", "source")
    assert "c:v1" in told.subject
    assert versions(pair, "damaged") == [("c", 0, None), ("c", 2, "latest")]
