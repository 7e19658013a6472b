"""Everything goes from one W&B server to another, three times: the official SDK reads the same on both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.everything.copies import SOURCE_KEY, Copies, silence
from tests.e2e.everything.reading import Place
from tests.e2e.everything.sdk_world import ENTITY, MEDIA, OTHER, PROJECTS, REPORTED, RUNS
from tests.e2e.transfers import Outcome, command

COPY = "e2e"


@dataclass(frozen=True)
class Transfer:
    """A command, and how many requests of which kind it cost the destination."""

    outcome: Outcome
    reads: int
    writes: int


@pytest.fixture(scope="module")
def there(copies: Copies) -> Place:
    return Place(copies.source, ENTITY)


@pytest.fixture(scope="module")
def here(copies: Copies) -> Place:
    return Place(copies.rehearsal.sandbox, COPY)


def migrate(there: Place, here: Place, state: Path, *options: str) -> Transfer:
    before = here.server.counters()
    outcome = command(
        "migrate",
        f"wandb:{there.server.url}/{there.entity}",
        f"wandb:{here.server.url}/{here.entity}",
        *("--source-api-key-env", SOURCE_KEY, "--state-dir", str(state), "--json", *options),
        environ={SOURCE_KEY: there.server.api_key, "WANDB_API_KEY": here.server.api_key},
    )
    after = here.server.counters()
    return Transfer(
        outcome, after["reads"] - before.get("reads", 0), after["writes"] - before.get("writes", 0)
    )


@pytest.fixture(scope="module")
def three(there: Place, here: Place, tmp_path_factory: pytest.TempPathFactory) -> list[Transfer]:
    state = tmp_path_factory.mktemp("state")
    transfers = [migrate(there, here, state) for _ in range(3)]
    # As the source did, the destination finds out after some minutes.
    silence(here.server)
    return transfers


def test_there_is_one_of_everything(there: Place) -> None:
    media = there.runs(MEDIA)["media"]
    kinds = {value["_type"] for row in media["rows"] for value in row.values() if _is_media(value)}
    assert kinds >= {
        "image-file",
        "images/separated",
        "audio-file",
        "video-file",
        "molecule-file",
        "object3D-file",
        "html-file",
        "html",
        "histogram",
        "plotly-file",
        "bokeh-file",
        "graph-file",
        "wb_trace_tree",
        "table-file",
        "incremental-table-file",
        "joined-table",
        "partitioned-table",
    }
    charts = {"curve", "bars", "scatter", "spread", "series", "confusion", "roc", "pr"}
    assert media["own"]["visualize"].keys() == charts
    assert {"m", "mask/class_labels", "bounding_box/class_labels"} <= media["own"].keys()
    states = {run_id: run["state"] for run_id, run in there.runs(OTHER).items()}
    assert states == {"crashed": "crashed", "long": "finished", "resumed": "finished", "rewound": "finished"}


def _is_media(value: Any) -> bool:
    return isinstance(value, dict) and "_type" in value


def test_all_of_it_arrives(three: list[Transfer]) -> None:
    assert [one.outcome.status for one in three] == [0, 0, 0], [one.outcome.text for one in three]
    (last,) = three[0].outcome.events[-1:]
    assert last["runs_done"] == RUNS
    assert three[0].writes > 0


def test_the_second_and_the_third_transfer_write_nothing(three: list[Transfer]) -> None:
    assert [one.writes for one in three[1:]] == [0, 0]
    assert three[1].reads == three[2].reads < three[0].reads


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("project", PROJECTS)
def test_runs_are_equal_row_for_row(there: Place, here: Place, project: str) -> None:
    expected, found = there.runs(project), here.runs(project)
    assert found.keys() == expected.keys()
    for run_id, run in expected.items():
        for part, told in run.items():
            assert found[run_id][part] == told, f"{part} of run {run_id}"


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("project", PROJECTS)
def test_collections_are_equal_version_for_version(there: Place, here: Place, project: str) -> None:
    assert here.collections(project) == there.collections(project)


@pytest.mark.usefixtures("three")
def test_links_are_equal(there: Place, here: Place) -> None:
    assert here.links(MEDIA) == there.links(MEDIA) != {}


@pytest.mark.usefixtures("three")
def test_reports_are_equal_block_for_block_and_sweeps_have_their_runs(there: Place, here: Place) -> None:
    expected = there.reports()
    assert len(expected["reports"]) == 2
    assert [len(runs.split()) for runs in expected["sweeps"]] == [2]
    assert here.reports() == expected


@pytest.mark.usefixtures("three")
def test_saved_views_are_equal(there: Place, here: Place) -> None:
    assert here.saved_views(REPORTED) == there.saved_views(REPORTED) != {}
