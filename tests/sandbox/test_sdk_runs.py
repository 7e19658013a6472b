"""What the official SDK writes with ``wandb.init`` it reads back with ``wandb.Api``."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb

from tests.servers import RunningSandbox

pytestmark = pytest.mark.usefixtures("written")


@pytest.fixture(scope="module")
def run(api: wandb.Api, written: Any) -> Any:
    return api.run("ann/sdk/training")


def test_a_run_without_an_entity_goes_to_the_users_own(written: Any, sandbox: RunningSandbox) -> None:
    assert written["training"] == {"entity": "ann", "url": f"{sandbox.url}/ann/sdk/runs/training"}


def test_what_init_says_of_a_run_is_kept(run: Any) -> None:
    assert run.name == "first try"
    assert run.group == "sweep of one"
    assert run.job_type == "train"
    assert run.notes == "a note"
    assert run.tags == ["baseline", "small"]
    assert run.user.username == "ann"
    assert run.state == "finished"


def test_config_keeps_its_nesting_and_later_keys(run: Any) -> None:
    optimizer = {"name": "adam", "beta": 0.9}
    assert run.config == {"lr": 0.1, "layers": [64, 32], "optimizer": optimizer, "late": True}


def test_definitions_of_metrics_travel_in_the_config(run: Any) -> None:
    names = [metric.get("1") or metric.get("2") for metric in run.rawconfig["_wandb"]["m"]]
    assert names == ["loss", "val/*", "epoch"]


def test_summary_has_last_values_and_what_define_metric_asks_for(run: Any) -> None:
    summary = run.summary
    assert summary["loss"]["min"] == 1
    assert summary["nested"]["deep"]["y"] == -5
    assert summary["extra"]["k"] == 1
    assert math.isnan(summary["bad"])
    assert summary["high"] == math.inf


def test_scan_history_gives_every_row_in_order(run: Any) -> None:
    rows = list(run.scan_history())
    assert [row["_step"] for row in rows] == [0, 1, 2, 3, 4, 5, 10, 11]
    assert [row["loss"] for row in rows[:6]] == [3, 1, 2, 5, 4, 6]
    assert rows[5]["nested"] == {"x": 5, "deep": {"y": -5}}


@pytest.mark.parametrize("page_size", [1, 4, 13, 1000])
def test_pages_of_steps_neither_lose_nor_repeat_a_row(run: Any, page_size: int) -> None:
    rows = list(run.scan_history(page_size=page_size))
    assert [row["_step"] for row in rows] == [0, 1, 2, 3, 4, 5, 10, 11]


def test_values_that_json_lacks_survive_in_rows(run: Any) -> None:
    (row,) = [row for row in run.scan_history() if row["_step"] == 10]
    assert math.isnan(row["bad"])
    assert (row["high"], row["low"]) == (math.inf, -math.inf)


def test_chosen_keys_come_flat_and_only_from_rows_that_have_them_all(run: Any) -> None:
    rows = list(run.scan_history(keys=["_step", "nested.deep.y"], page_size=3))
    assert rows == [{"_step": step, "nested.deep.y": -step} for step in range(6)]


def test_history_samples_rows(run: Any) -> None:
    rows = run.history(samples=3, pandas=False)
    assert [row["_step"] for row in rows] == [0, 3, 11]
    assert run.history(keys=["loss"], pandas=False)[1] == {"_step": 1, "loss": 1}


def test_history_keys_have_types_and_the_last_step(run: Any) -> None:
    keys = run.history_keys
    assert keys["lastStep"] == run.lastHistoryStep == 11
    assert keys["keys"]["loss"]["typeCounts"] == [{"type": "number", "count": 6}]
    assert keys["keys"]["nested.deep.y"]["typeCounts"] == [{"type": "number", "count": 6}]
    assert keys["keys"]["image"]["typeCounts"] == [{"type": "image-file", "count": 1}]


def test_media_values_keep_their_form_and_their_file(run: Any, tmp_path: Path) -> None:
    (row,) = [row for row in run.scan_history() if row.get("image")]
    assert row["histogram"]["_type"] == "histogram"
    image = run.file(row["image"]["path"]).download(str(tmp_path))
    with image:
        assert Path(image.name).read_bytes()[1:4] == b"PNG"


def test_system_metrics_are_a_stream_of_their_own(run: Any) -> None:
    rows = run.history(stream="events", pandas=False)
    assert any(key.startswith("system.") for key in rows[0])
    assert run.system_metrics.keys() == rows[-1].keys()


def test_files_of_a_run_are_listed_and_come_back_byte_for_byte(run: Any, tmp_path: Path) -> None:
    names = {file.name for file in run.files()}
    standard = {"config.yaml", "output.log", "requirements.txt", "wandb-metadata.json", "wandb-summary.json"}
    assert standard | {"data/notes.txt"} <= names
    assert len(names) == len(run.files())
    with run.file("data/notes.txt").download(str(tmp_path)) as file:
        assert file.read() == "kept"


def test_a_file_that_is_not_there_is_a_placeholder(run: Any) -> None:
    assert run.file("nowhere.txt").size == 0


def test_files_can_be_chosen_by_pattern(run: Any) -> None:
    assert [file.name for file in run.files(pattern="data/%.txt")] == ["data/notes.txt"]


def test_metadata_comes_from_the_file_of_that_name(run: Any) -> None:
    assert "sdk_writer" in run.metadata["program"]


def test_console_lines_are_captured_with_their_stream(sandbox: RunningSandbox, run: Any) -> None:
    query = """{ project(name: "sdk") { run(name: "training") {
        logLineCount logLines(first: 100) { edges { node { number level line timestamp } } } } } }"""
    found = sandbox.graphql(query)["project"]["run"]
    lines = [edge["node"] for edge in found["logLines"]["edges"]]
    assert [line["number"] for line in lines] == list(range(found["logLineCount"]))
    assert ("to stdout", None) in [(line["line"], line["level"]) for line in lines]
    assert ("to stderr", "error") in [(line["line"], line["level"]) for line in lines]
    assert all(line["timestamp"] for line in lines)


def test_a_resumed_run_goes_on_where_it_ended(api: wandb.Api, written: Any) -> None:
    assert written["resumed"] == [0, 2, 4]
    run = api.run("ann/sdk/resumed")
    assert [row["value"] for row in run.scan_history()] == [1, -1, 2, -2, 3, -3]
    assert run.config == {"a": 1}


def test_resume_never_and_must_are_refused_where_they_must_be(written: Any) -> None:
    assert "already exists" in written["never"]
    assert "does not exist" in written["must"]


def test_an_exit_code_makes_a_run_failed(api: wandb.Api) -> None:
    assert api.run("ann/sdk/failing").state == "failed"


def test_a_rewound_run_goes_on_after_the_step_it_was_rewound_to(api: wandb.Api) -> None:
    rows = list(api.run("ann/sdk/base").scan_history())
    assert [(row["_step"], row["x"]) for row in rows] == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 100)]


def test_a_fork_begins_after_the_step_it_was_forked_at(api: wandb.Api) -> None:
    assert [(row["_step"], row["x"]) for row in api.run("ann/sdk/forked").scan_history()] == [(4, 200)]


def test_shared_mode_writes_like_a_run_of_one(api: wandb.Api) -> None:
    run = api.run("ann/sdk/shared")
    assert [row["x"] for row in run.scan_history()] == [1]
    assert run.state == "finished"


def test_the_public_api_edits_a_run(new_api: Callable[[], wandb.Api], new_run: Callable[..., Any]) -> None:
    bucket = new_run(name="edited", config='{"lr": {"value": 1}}')
    path = f"ann/{bucket['project']['name']}/edited"
    run = new_api().run(path)
    run.config["added"] = [1, 2]
    run.tags.append("seen")
    run.notes = "changed"
    run.update()
    run.summary.update({"score": 0.5})
    again = new_api().run(path)
    assert again.config == {"lr": 1, "added": [1, 2]}
    assert (again.tags, again.notes, again.summary["score"]) == (["seen"], "changed", 0.5)


def test_the_public_api_creates_uploads_and_deletes(
    new_api: Callable[[], wandb.Api], project: str, tmp_path: Path
) -> None:
    run = new_api().create_run(run_id="made", project=project)
    (tmp_path / "report.txt").write_text("42")
    run.upload_file(str(tmp_path / "report.txt"), root=str(tmp_path))
    found = new_api().run(f"ann/{project}/made")
    assert [file.name for file in found.files()] == ["report.txt"]
    next(iter(found.files())).delete()
    assert not list(new_api().run(f"ann/{project}/made").files())
    found.delete()
    assert not list(new_api().runs(f"ann/{project}"))
    with pytest.raises(wandb.errors.CommError, match="could not find run"):
        new_api().run(f"ann/{project}/made")


def test_viewer_user_team_and_projects(api: wandb.Api) -> None:
    assert (api.viewer.username, api.viewer.email, api.viewer.teams) == ("ann", "ann@example.org", ["lab"])
    assert api.default_entity == "ann"
    assert api.user("bob").username == "bob"
    assert [member.username for member in api.team("lab").members] == ["ann", "eve"]
    assert "sdk" in [project.name for project in api.projects()]
