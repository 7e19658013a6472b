"""Every example of W&B's guide "Import and export data", done with ``engine.sync`` and with the official SDK.

The answers are the same; where ours is another one on purpose, the docstring says which and why. What the
guide shows for the importer is in ``engine migrate``.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Generator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars
import pytest
import wandb
from typer.testing import CliRunner

import engine
import engine.sync
from engine.cli.main import app
from engine.sandbox import Account
from tests.e2e.guide_source import COMMIT, ENTITY, PROJECT
from tests.servers import RunningSandbox, running_sandbox
from tests.wandb.conftest import run_sdk

PATH = f"{ENTITY}/{PROJECT}"
FOO = f"{PATH}/foo"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[RunningSandbox, str]]:
    """A server that the SDK filled, and the id of a sweep there."""
    directory = tmp_path_factory.mktemp("guide")
    with running_sandbox(tmp_path_factory.mktemp("guide-server"), accounts=[Account(ENTITY)]) as server:
        run_sdk("tests.e2e.guide_source", server, directory)
        yield server, (directory / "sweep").read_text()


@pytest.fixture
def api(written: tuple[RunningSandbox, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[engine.sync.Api]:
    monkeypatch.setenv("WANDB_BASE_URL", written[0].url)
    monkeypatch.setenv("WANDB_API_KEY", written[0].api_key)
    with engine.sync.Api() as opened:
        yield opened


@pytest.fixture
def sdk(written: tuple[RunningSandbox, str]) -> wandb.Api:
    return wandb.Api(overrides={"base_url": written[0].url}, api_key=written[0].api_key)


@pytest.fixture
def sweep_path(written: tuple[RunningSandbox, str]) -> str:
    return f"{PATH}/{written[1]}"


def own(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The cells of a frame that are not empty, whatever the order of its columns."""
    return [
        {
            str(key): value
            for key, value in row.items()
            if not (isinstance(value, float) and math.isnan(value))
        }
        for row in frame.to_dict("records")
    ]


def test_read_a_run(api: engine.sync.Api, sdk: wandb.Api):
    """Path, config, summary, state and time of start of a run."""
    ours, theirs = api.run(FOO), sdk.run(FOO)
    assert ours.config == theirs.config == {"experiment_name": "foo", "lr": 0.1, "layers": {"width": 64}}
    assert dict(ours.summary) == dict(theirs.summary_metrics)
    assert (ours.state, ours.name, ours.id) == (theirs.state, theirs.name, theirs.id)


def test_understand_the_attributes_of_a_run(api: engine.sync.Api, sdk: wandb.Api):
    """The guide shows what is in a config, and what the client adds to a summary."""
    ours, theirs = api.run(FOO), sdk.run(FOO)
    assert {"_runtime", "_step", "_timestamp", "_wandb", "accuracy", "loss", "val_acc"} == set(ours.summary)
    assert ours.summary["_wandb"] == theirs.summary_metrics["_wandb"]
    assert (ours.url, ours.tags, ours.path) == (theirs.url, theirs.tags, theirs.path)


def test_get_the_starting_time_of_a_run(api: engine.sync.Api, sdk: wandb.Api):
    assert api.run(FOO).created_at == sdk.run(FOO).created_at


def csv_of_the_guide(runs: Any, path: Path) -> bytes:
    """The recipe: name, config and summary of every run. The guide reads a private attribute for the last."""
    summaries, configs, names = [], [], []
    for run in runs:
        summaries.append(run.summary._json_dict)
        configs.append({k: v for k, v in run.config.items() if not k.startswith("_")})
        names.append(run.name)
    pd.DataFrame({"summary": summaries, "config": configs, "name": names}).to_csv(path)
    return path.read_bytes()


def test_query_runs_and_write_them_to_a_csv(api: engine.sync.Api, sdk: wandb.Api, tmp_path: Path):
    ours = csv_of_the_guide(api.runs(PATH), tmp_path / "ours.csv")
    assert ours == csv_of_the_guide(sdk.runs(PATH), tmp_path / "theirs.csv")
    assert list(pd.read_csv(tmp_path / "ours.csv")["name"])[:3] == ["foo-run", "bar-run", "baz-run"]


def test_an_export_to_csv_is_what_the_recipe_writes(
    written: tuple[RunningSandbox, str], sdk: wandb.Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Byte for byte, but that runs which began in the same second are in the order of their ids."""
    monkeypatch.setenv("WANDB_API_KEY", written[0].api_key)
    source = f"wandb:{written[0].url}/{PATH}"
    done = CliRunner().invoke(app, ["export", source, "--out", str(tmp_path / "out"), "--format", "csv"])
    assert done.exit_code == 0, done.output
    (exported,) = (tmp_path / "out" / "csv" / "projects").iterdir()
    runs = sorted(sdk.runs(PATH), key=lambda run: (run.created_at, run.id))
    assert exported.read_bytes() == csv_of_the_guide(runs, tmp_path / "theirs.csv")


def test_the_one_liners_of_the_readme_open_an_export(
    written: tuple[RunningSandbox, str], sdk: wandb.Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Every row and every key, though runs have keys of their own."""
    monkeypatch.setenv("WANDB_API_KEY", written[0].api_key)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["export", f"wandb:{written[0].url}/{PATH}", "--out", "data"])
    assert done.exit_code == 0, done.output
    text = (Path(__file__).parents[2] / "README.md").read_text()
    block = text[text.index("pandas.read_parquet(") :].partition("```")[0]
    known = {"pandas": pd, "polars": polars, "duckdb": duckdb, "Path": Path}
    runs, by_polars, by_duckdb = (eval(ast.unparse(line), known) for line in ast.parse(block).body)
    assert set(runs["id"]) == {run.id for run in sdk.runs(PATH)}
    rows = [row for run in sdk.runs(PATH) for row in run.scan_history()]
    keys = {"_run", "_exact", *(key for row in rows for key in row)}
    assert (by_polars.height, set(by_polars.columns)) == (len(rows), keys)
    assert (len(by_duckdb), set(by_duckdb.columns)) == (len(rows), keys)


@pytest.mark.parametrize(
    "filters",
    [
        {"config.experiment_name": "foo"},
        {"$or": [{"config.experiment_name": "foo"}, {"config.experiment_name": "bar"}]},
        {"display_name": {"$regex": "^foo.*"}},
        {"$and": [{"created_at": {"$lt": "2100-01-01T00:00:00", "$gt": "2020-01-01T00:00:00"}}]},
        {"summary_metrics.accuracy": {"$gt": 0.2}},
        {"state": "finished", "tags": {"$in": ["kept"]}},
    ],
    ids=str,
)
def test_filter_runs(api: engine.sync.Api, sdk: wandb.Api, filters: dict):
    ours, theirs = api.runs(PATH, filters=filters), sdk.runs(PATH, filters=filters)
    assert [run.id for run in ours] == [run.id for run in theirs]
    assert len(ours) == len(theirs) == ours.given > 0


def test_runs_come_in_pages_and_in_order(api: engine.sync.Api, sdk: wandb.Api):
    ours = api.runs(PATH, order="-summary_metrics.accuracy", per_page=2)
    assert [r.id for r in ours] == [
        r.id for r in sdk.runs(PATH, order="-summary_metrics.accuracy", per_page=2)
    ]


def test_orders_in_the_spelling_of_the_guide_sort(api: engine.sync.Api):
    """The guide says ``summary.val_acc`` and ``config.experiment_name``, not what is stored (E8)."""
    best = [run.id for run in api.runs(PATH, {"tags": "kept"}, order="-summary.val_acc")]
    assert best == ["baz", "bar", "foo"]
    assert [run.id for run in api.runs(PATH, {"tags": "kept"}, order="+config.experiment_name")] == [
        "bar",
        "baz",
        "foo",
    ]


def test_the_oldest_run_comes_first_unless_told_otherwise(api: engine.sync.Api, sdk: wandb.Api):
    """The guide says that the newest does, which the SDK has changed (E6)."""
    assert [run.id for run in api.runs(PATH)][:4] == ["foo", "bar", "baz", "reads"]
    assert next(iter(sdk.runs(PATH))).id == "foo"


def test_read_metrics_from_a_run(api: engine.sync.Api, sdk: wandb.Api):
    """A sample, which the frame says: ``attrs["sampled"]``. Of a short run it is everything."""
    run = api.run(FOO)
    assert run.state == "finished"
    history = run.history()
    values = [row["accuracy"] for _, row in history.iterrows() if not math.isnan(row["accuracy"])]
    assert values == [step / 100 for step in range(30)]
    assert history.attrs["sampled"] is False
    assert own(history) == own(sdk.run(FOO).history())


def test_read_a_specific_metric_from_a_run(api: engine.sync.Api, sdk: wandb.Api):
    ours, theirs = api.run(FOO).history(keys=["accuracy"]), sdk.run(FOO).history(keys=["accuracy"])
    assert own(ours) == own(theirs)
    assert len(ours) == 30


def test_compare_two_runs(api: engine.sync.Api, sdk: wandb.Api):
    def different(source: Any) -> pd.DataFrame:
        one, other = source.run(FOO), source.run(f"{PATH}/bar")
        frame = pd.DataFrame([one.config, other.config]).transpose()
        frame.columns = pd.Index([one.name, other.name])
        rows: pd.DataFrame = frame[frame[one.name] != frame[other.name]]
        return rows.sort_index()

    assert different(api).equals(different(sdk))
    assert set(different(api).index) == {"experiment_name", "lr"}


def test_get_unsampled_metric_data(api: engine.sync.Api, sdk: wandb.Api):
    losses = [row["loss"] for row in api.run(FOO).scan_history(keys=["loss"])]
    assert losses == [row["loss"] for row in sdk.run(FOO).scan_history(keys=["loss"])]
    assert losses == [1 / (step + 1) for step in range(30)]


def test_get_paginated_data_from_history(api: engine.sync.Api, sdk: wandb.Api):
    """Pages go by the rows that there are, so ``page_size`` changes nothing; the rows are the same."""
    keys = ["accuracy", "loss"]
    ours = list(api.run(FOO).scan_history(keys=keys, page_size=7))
    assert ours == list(sdk.run(FOO).scan_history(keys=keys, page_size=7))


def test_a_scan_of_keys_that_never_meet_in_a_row(api: engine.sync.Api, sdk: wandb.Api):
    """The SDK gives nothing: it wants all keys in each row. Here a row needs any of them (E31)."""
    keys = ["accuracy", "val_acc"]
    assert list(sdk.run(FOO).scan_history(keys=keys)) == []
    assert len(list(api.run(FOO).scan_history(keys=keys))) == 31
    assert list(api.run(FOO).scan_history(keys=keys, require_all=True)) == []


def test_export_the_metrics_of_all_runs_of_a_project(api: engine.sync.Api, sdk: wandb.Api, tmp_path: Path):
    """One frame; the guide's recipe ends in ``run.finish()``, which such runs don't have (E50)."""
    frames = [pd.DataFrame(list(run.scan_history())).assign(run_id=run.id) for run in api.runs(PATH)]
    everything = pd.concat(frames)
    everything.to_csv(tmp_path / "all.csv")
    for run in sdk.runs(PATH):
        mine = everything[everything["run_id"] == run.id].drop(columns="run_id")
        assert own(mine) == [dict(row) for row in run.scan_history()]


def test_get_system_metrics(api: engine.sync.Api, sdk: wandb.Api, tmp_path: Path):
    ours, theirs = api.run(FOO).history(stream="events"), sdk.run(FOO).history(stream="events")
    ours.to_csv(tmp_path / "system.csv")
    assert own(ours) == own(theirs)
    assert any(name.startswith("system.") for name in ours.columns)


def test_upload_a_file_to_a_finished_run(
    api: engine.sync.Api, sdk: wandb.Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("notes.md").write_text("afterwards")
    api.run(f"{PATH}/baz").upload_file("notes.md")
    with sdk.run(f"{PATH}/baz").file("notes.md").download(root=str(tmp_path / "back")) as file:
        assert file.read() == "afterwards"


def test_download_a_file(api: engine.sync.Api, sdk: wandb.Api, tmp_path: Path):
    """A path, where the SDK returns an open text file, of a binary too (E37)."""
    path = api.run(FOO).file("model-best.h5").download(root=tmp_path)
    assert path.read_bytes() == bytes(range(256)) * 8
    sdk.run(FOO).file("model-best.h5").download(root=str(tmp_path / "sdk")).close()
    assert path.read_bytes() == (tmp_path / "sdk" / "model-best.h5").read_bytes()


def test_download_all_files(api: engine.sync.Api, sdk: wandb.Api, tmp_path: Path):
    for file in api.run(FOO).files():
        file.download(root=tmp_path / "ours")
    for file in sdk.run(FOO).files():
        file.download(root=str(tmp_path / "theirs")).close()

    def found(root: Path) -> dict[str, bytes]:
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    assert found(tmp_path / "ours") == found(tmp_path / "theirs")


def test_delete_files_by_their_extension(api: engine.sync.Api, sdk: wandb.Api):
    for file in api.run(FOO).files():
        if file.name.endswith(".png"):
            file.delete()
    assert not [file.name for file in sdk.run(FOO).files() if file.name.endswith(".png")]


def test_get_the_command_that_ran_the_run(api: engine.sync.Api, sdk: wandb.Api):
    """The guide opens the file by hand and fails the second time; None is for runs without one (E27)."""
    metadata = sdk.run(FOO).metadata
    assert api.run(FOO).command() == ["python", metadata["program"], *metadata.get("args", [])]
    assert api.run(FOO).command() == api.run(FOO).command()
    assert api.run(FOO).metadata == metadata
    assert api.run(FOO).commit == sdk.run(FOO).commit


def test_update_a_metric_after_the_run(api: engine.sync.Api, sdk: wandb.Api):
    run = api.run(f"{PATH}/bar")
    run.summary["accuracy"] = 0.9
    run.summary.update()
    assert sdk.run(f"{PATH}/bar").summary_metrics["accuracy"] == 0.9


def test_update_a_metric_with_a_histogram(api: engine.sync.Api, sdk: wandb.Api):
    """W&B's own value is stored as the SDK stores it."""
    histogram = wandb.Histogram(np.array([0.1, 0.2, 0.2, 0.9]), num_bins=4)
    for source, name in ((api, "ours"), (sdk, "theirs")):
        run = source.run(f"{PATH}/bar")
        run.summary[name] = histogram
        run.summary.update()
    summary = api.run(f"{PATH}/bar").summary
    assert summary["ours"]["_type"] == "histogram"
    assert summary["ours"] == summary["theirs"]


def test_update_summary_metrics_with_a_dict(api: engine.sync.Api, sdk: wandb.Api):
    api.run(f"{PATH}/bar").summary.update({"key": np.float32(0.5)})
    assert sdk.run(f"{PATH}/bar").summary_metrics["key"] == 0.5


def test_rename_a_metric_after_the_run(api: engine.sync.Api, sdk: wandb.Api):
    run = api.run(f"{PATH}/bar")
    run.summary["new_name"] = run.summary["loss"]
    del run.summary["loss"]
    run.summary.update()
    summary = sdk.run(f"{PATH}/bar").summary_metrics
    assert summary["new_name"] == 1 / 30
    assert "loss" not in summary


def test_update_the_config_of_a_run(api: engine.sync.Api, sdk: wandb.Api):
    """What W&B's client keeps in the config survives; another's change is a conflict, not lost (E42)."""
    run, other = api.run(f"{PATH}/bar"), api.run(f"{PATH}/bar")
    run.config["key"] = "updated"
    run.update()
    assert sdk.run(f"{PATH}/bar").config["key"] == "updated"
    assert "_wandb" in sdk.run(f"{PATH}/bar").rawconfig
    other.config["key"] = "otherwise"
    with pytest.raises(engine.Conflict):
        other.update()


def test_get_the_runs_of_a_sweep(api: engine.sync.Api, sdk: wandb.Api, sweep_path: str):
    ours, theirs = api.sweep(sweep_path), sdk.sweep(sweep_path)
    assert sorted(run.id for run in ours.runs) == sorted(run.id for run in theirs.runs)
    assert (ours.id, ours.order, ours.config["method"]) == (theirs.id, theirs.order, "grid")
    assert [sweep.id for sweep in api.sweeps(PATH)] == [ours.id]
    assert (ours.url, ours.path) == (theirs.url, theirs.path)
    swept = next(iter(ours.runs)).sweep
    assert swept is not None
    assert swept.id == ours.id
    assert api.run(FOO).sweep is None


def test_get_the_best_run_of_a_sweep(api: engine.sync.Api, sdk: wandb.Api, sweep_path: str):
    best = api.sweep(sweep_path).best_run()
    assert best is not None
    assert best.id == sdk.sweep(sweep_path).best_run().id
    assert best.config["x"] == 3


def test_download_the_best_model_of_a_sweep(api: engine.sync.Api, sweep_path: str, tmp_path: Path):
    runs = sorted(api.sweep(sweep_path).runs, key=lambda run: run.summary.get("val_acc", 0), reverse=True)
    assert all(one.summary["val_acc"] >= other.summary["val_acc"] for one, other in pairwise(runs))
    path = runs[0].file("model.h5").download(root=tmp_path, replace=True)
    assert path.read_text() == "x=3"


def test_get_artifacts_of_runs(api: engine.sync.Api, sdk: wandb.Api, tmp_path: Path):
    used = list(api.run(f"{PATH}/reads").used_artifacts())
    assert [artifact.name for artifact in used] == ["dataset:v0"]
    assert [a.name for a in api.run(FOO).logged_artifacts()] == [
        a.name for a in sdk.run(FOO).logged_artifacts()
    ]
    artifact = api.artifact(f"{PATH}/dataset:latest")
    assert artifact.digest == sdk.artifact(f"{PATH}/dataset:latest").digest
    assert (artifact.download(tmp_path) / "rows.csv").read_text() == "a,b\n1,2\n"
    assert [run.id for run in artifact.used_by()] == ["reads"]
    maker = artifact.logged_by()
    assert maker is not None
    assert maker.id == "foo"


def test_read_a_report(api: engine.sync.Api, sdk: wandb.Api):
    """The spec and the list of blocks; the SDK gives HTML of a frame that shows the page (E51)."""
    (ours,), (theirs,) = list(api.reports(PATH)), list(sdk.reports(PATH))
    assert (ours.title, ours.description, ours.id) == (theirs.display_name, theirs.description, theirs.id)
    assert ours.spec == theirs.spec
    assert {block["type"] for block in ours.blocks} == {"heading", "paragraph", "panel-grid"}
    assert len(ours.sections) == 1
    assert (ours.url, ours.updated_at) == (theirs.url, theirs.updated_at)
    assert (ours.display_name, ours.assets) == (theirs.display_name, ())


def test_get_the_latest_git_commit(api: engine.sync.Api, sdk: wandb.Api):
    assert api.run(FOO).commit == sdk.run(FOO).commit == COMMIT
    assert {run.commit for run in api.runs(PATH)} == {COMMIT}


def test_errors_have_their_cause(api: engine.sync.Api, sdk: wandb.Api):
    """``CommError`` with ``exc``, and more of it than the SDK tells (E46)."""
    with pytest.raises(wandb.errors.CommError):
        sdk.run(f"{PATH}/nobody")
    with pytest.raises(engine.CommError) as caught:
        api.run(f"{PATH}/nobody")
    assert caught.value.exc is not None
    assert (caught.value.retryable, caught.value.side) == (False, "source")


def test_up_to_date_values_need_no_flush(api: engine.sync.Api, sdk: wandb.Api):
    """The SDK remembers the run until ``flush``; here nothing is remembered (E14)."""
    stale = sdk.run(f"{PATH}/baz")
    run = api.run(f"{PATH}/baz")
    run.notes = "news"
    run.update()
    assert sdk.run(f"{PATH}/baz") is stale
    assert api.run(f"{PATH}/baz").notes == "news"
    api.flush()
    sdk.flush()
    assert sdk.run(f"{PATH}/baz").notes == "news"
