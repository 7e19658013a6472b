"""What W&B's own tests asked of its importer between servers holds, and all switches have an effect."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from engine import Options
from engine.errors import AuthError, ConfigError
from engine.importers import ImportFailures, ImportResult, Namespace, WandbImporter
from tests.e2e.sdk_artifacts import seen
from tests.e2e.wandb_pair import api_of
from tests.importers.conftest import A, B
from tests.importers.sdk_project import PROJECT, VERSIONS
from tests.sdk_reader import comparable
from tests.servers import RunningSandbox

THERE = Namespace(A, PROJECT)
MEDIA = ("image", "audio", "cloud", "html", "molecule", "numbers", "line_table")
RUNS = 2 + VERSIONS


@pytest.fixture
def importer(source: RunningSandbox, target: RunningSandbox) -> WandbImporter:
    return WandbImporter(source.url, source.api_key, target.url, target.api_key)


@pytest.fixture(scope="module")
def places() -> Iterator[Namespace]:
    """Projects at the destination that nobody wrote to."""
    return (Namespace(B, f"p{number}") for number in count())


def runs_at(server: RunningSandbox, path: str) -> dict[str, Any]:
    return {run.id: run for run in api_of(server).runs(path)}


def test_three_imports_leave_the_same_runs_row_for_row(
    importer: WandbImporter, source: RunningSandbox, target: RunningSandbox
) -> None:
    results = [importer.import_runs(namespaces=[THERE]) for _ in range(3)]
    assert [(result.runs_done, result.runs_skipped) for result in results] == [
        (RUNS, 0),
        (0, RUNS),
        (0, RUNS),
    ]
    there, here = runs_at(source, THERE.path), runs_at(target, THERE.path)
    assert there.keys() == here.keys()
    for run_id, run in there.items():
        assert comparable([*here[run_id].scan_history()]) == comparable([*run.scan_history()])
        assert {file.name for file in run.files()} <= {file.name for file in here[run_id].files()}
    media = {key for row in here["media"].scan_history() for key in row if row[key] is not None}
    assert media >= set(MEDIA)


def test_three_imports_leave_the_same_versions(
    importer: WandbImporter, source: RunningSandbox, target: RunningSandbox, places: Iterator[Namespace]
) -> None:
    place = next(places)
    importer.import_runs(namespaces=[THERE], remapping={THERE: place})
    where: dict[str, Any] = {"namespaces": [THERE], "remapping": {THERE: place}}
    results = [importer.import_artifact_sequences(**where) for _ in range(3)]
    there, here = seen(api_of(source), THERE.path), seen(api_of(target), place.path)
    assert [version.number for version in here["data"].versions] == [f"v{n}" for n in range(VERSIONS)]
    assert here["data"] == there["data"]
    assert here.keys() == there.keys()
    made = sum(len(collection.versions) for collection in here.values())
    assert [result.versions for result in results] == [made, 0, 0]
    assert f"; {made} artifact versions;" in str(results[0])


def test_three_imports_leave_the_same_reports(
    importer: WandbImporter, source: RunningSandbox, target: RunningSandbox, places: Iterator[Namespace]
) -> None:
    place = next(places)
    where: dict[str, Any] = {"namespaces": [THERE], "remapping": {THERE: place}}
    results = [importer.import_reports(**where) for _ in range(3)]
    assert [result.reports for result in results] == [2, 0, 0]
    assert "; 2 reports, views and sweeps;" in str(results[0])
    reports = list(api_of(target).reports(place.path))
    assert sorted(report.display_name for report in reports) == ["First", "Second"]


def test_everything_in_one_call(
    importer: WandbImporter, target: RunningSandbox, places: Iterator[Namespace]
) -> None:
    place = next(places)
    result = importer.import_all(namespaces=[THERE], remapping={THERE: place})
    assert (result.runs_done, result.ok) == (RUNS, True)
    assert len(seen(api_of(target), place.path)["data"].versions) == VERSIONS
    assert len(list(api_of(target).reports(place.path))) == 2
    again = importer.import_all(namespaces=[THERE], remapping={THERE: place})
    assert (again.runs_skipped, again.points, again.files) == (RUNS, 0, 0)


@pytest.mark.parametrize("left_out", ["runs", "artifacts", "reports"])
def test_import_all_leaves_out(
    importer: WandbImporter, target: RunningSandbox, places: Iterator[Namespace], left_out: str
) -> None:
    place = next(places)
    if left_out == "runs":
        importer.import_runs(namespaces=[THERE], remapping={THERE: place}, history=False, files=False)
    result = importer.import_all(namespaces=[THERE], remapping={THERE: place}, **{left_out: False})
    assert (result.runs_done == 0) == (left_out == "runs")
    assert (seen(api_of(target), place.path) == {}) == (left_out == "artifacts")
    assert (list(api_of(target).reports(place.path)) == []) == (left_out == "reports")


def test_no_namespaces_are_all_projects_of_the_default_entity(
    importer: WandbImporter, target: RunningSandbox, places: Iterator[Namespace]
) -> None:
    place = next(places)
    result = importer.import_runs(remapping={THERE: place}, ids=["training"])
    assert result.runs_done == 1
    assert runs_at(target, place.path).keys() == {"training"}


SWITCHES = {
    "files": {"notes.txt"},
    "code": {"diff.patch", "code/train.py"},
    "metadata": {"wandb-metadata.json"},
    "terminal_output": {"output.log"},
}


@pytest.mark.parametrize("off", [*SWITCHES, "media", "history", "summary"])
def test_each_switch_has_an_effect_and_can_be_taken_back(
    importer: WandbImporter,
    source: RunningSandbox,
    target: RunningSandbox,
    places: Iterator[Namespace],
    off: str,
) -> None:
    place = next(places)
    asked: dict[str, Any] = {"namespaces": [THERE], "remapping": {THERE: place}, "ids": ["training", "media"]}
    importer.import_runs(**asked | {off: False})

    def told() -> dict[str, bool]:
        here, there = runs_at(target, place.path), runs_at(source, THERE.path)
        names = {file.name for file in here["training"].files()}
        kept = {name: expected <= names for name, expected in SWITCHES.items()}
        # The destination always has some, of what the run itself tells.
        sizes = [
            {file.name: file.md5 for file in each["training"].files()}["wandb-metadata.json"]
            for each in (here, there)
        ]
        kept["metadata"] = sizes[0] == sizes[1]
        kept["media"] = any(file.name.startswith("media/") for file in here["media"].files())
        kept["history"] = len(list(here["training"].scan_history())) == 10
        kept["summary"] = "loss" in dict(here["training"].summary)
        return kept

    assert told() == {name: name != off for name in (*SWITCHES, "media", "history", "summary")}
    importer.import_runs(**asked)
    assert all(told().values())


NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"ids": ["training"]}, {"training"}),
        ({"ids": []}, set()),
        ({"skip_ids": ["training", "media"]}, {f"maker-{number}" for number in range(VERSIONS)}),
        ({"ids": ["training", "media"], "skip_ids": ["media"]}, {"training"}),
        ({"filters": {"config.lr.value": 0.1}}, {"training"}),
        ({"start_date": NOW + timedelta(days=1)}, set()),
        ({"start_date": "2100-01-01"}, set()),
        ({"start_date": "2020-01-01T00:00:00Z", "ids": ["media"]}, {"media"}),
    ],
)
def test_runs_are_chosen(
    importer: WandbImporter,
    target: RunningSandbox,
    places: Iterator[Namespace],
    asked: Any,
    expected: set[str],
) -> None:
    place = next(places)
    importer.import_runs(namespaces=[THERE], remapping={THERE: place}, files=False, media=False, **asked)
    assert runs_at(target, place.path).keys() == expected


def test_limits(importer: WandbImporter, target: RunningSandbox, places: Iterator[Namespace]) -> None:
    place = next(places)
    where: dict[str, Any] = {"namespaces": [THERE], "remapping": {THERE: place}}
    assert importer.import_runs(**where, limit=2, parallel=False).runs_done == 2
    again = importer.import_runs(**where, limit=3)
    assert (again.runs_done, again.runs_skipped) == (3, 2), "a limit is one of work"
    importer.import_reports(**where, limit=1)
    assert len(list(api_of(target).reports(place.path))) == 1
    importer.import_artifact_sequences(**where, types=["dataset"], limit=5, max_workers=1)
    assert seen(api_of(target), place.path).keys() == {"data"}
    importer.import_artifact_sequences(**where, limit=0)
    assert seen(api_of(target), place.path).keys() == {"data"}


@pytest.mark.anyio
async def test_plain_calls_and_twins_within_a_running_loop(
    importer: WandbImporter, places: Iterator[Namespace]
) -> None:
    asked: dict[str, Any] = {"namespaces": [THERE], "remapping": {THERE: next(places)}}
    assert importer.import_runs(**asked, ids=["training"]).runs_done == 1
    result: ImportResult = await importer.import_runs_async(**asked, ids=["training", "media"])
    assert (result.runs_done, result.runs_skipped) == (1, 1)
    assert (await importer.import_artifact_sequences_async(**asked, limit=0)).ok
    assert (await importer.import_reports_async(**asked, limit=0)).ok
    assert (await importer.import_all_async(**asked, artifacts=False, reports=False)).runs_skipped == 2


def test_what_fails_is_raised_with_what_arrived(
    importer: WandbImporter, source: RunningSandbox, target: RunningSandbox, places: Iterator[Namespace]
) -> None:
    place = next(places)
    importer.import_runs(namespaces=[THERE], remapping={THERE: place}, ids=["media"])
    api_of(target).run(f"{place.path}/media").delete()
    fresh = WandbImporter(source.url, source.api_key, target.url, target.api_key, options=Options())
    with pytest.raises(ImportFailures, match="run media") as failures:
        fresh.import_runs(namespaces=[THERE], remapping={THERE: place})
    result = failures.value.result
    assert (result.runs_done, result.runs_failed) == (RUNS - 1, 1)
    told = fresh.import_runs(namespaces=[THERE], remapping={THERE: place}, raise_on_error=False)
    assert [failure.run for failure in told.failures] == ["media"]


def test_a_refused_key_is_told_whose_it_is(source: RunningSandbox, target: RunningSandbox) -> None:
    importer = WandbImporter(source.url, "x" * 40, target.url, target.api_key)
    with pytest.raises(AuthError, match="source"):
        importer.import_all(namespaces=[THERE])


def test_wrong_arguments_are_told(importer: WandbImporter) -> None:
    with pytest.raises(ConfigError, match="no date"):
        importer.import_runs(start_date="soon")
    with pytest.raises(ConfigError, match="max_workers"):
        importer.import_runs(max_workers=0)
    with pytest.raises(ConfigError, match="no address"):
        WandbImporter("api.wandb.ai", "", "https://b", "")
    with pytest.raises(ValueError, match="entity/project"):
        Namespace.from_path("entity")
