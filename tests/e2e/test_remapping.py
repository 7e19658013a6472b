"""With ``--map``, a migration arrives under its new names, and a verification knows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.transfers import Target, command
from tests.sdk_reader import SdkReader
from tests.servers import RunningSandbox
from tests.stores import ordinary_store, sqlite_store

MAPPING = r"""
version: 1
namespaces:
  vision/resnet: team-names/seeing
  re:(text): e2e/words-\1
users: {ada: lovelace}
tags: {trial: attempt}
config: {lr: learning_rate}
metrics: {loss: train/loss, re:val/(.*): eval/\1}
artifacts: {re:trial_+(.*)-.*: weights-\1}
"""


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory, sandbox: RunningSandbox) -> list[str]:
    """What is said to every command."""
    directory = tmp_path_factory.mktemp("mapped")
    store = ordinary_store(sqlite_store(directory))
    (directory / "names.yaml").write_text(MAPPING)
    target = Target(sandbox.url, sandbox.api_key, "e2e")
    chosen = ["--experiment", "vision/resnet", "--experiment", "text"]
    return [f"mlflow:{store.uri}", target.uri, *chosen, "--map", str(directory / "names.yaml")]


def test_all_arrives_under_its_new_names_and_is_verified(
    arguments: list[str], sandbox: RunningSandbox, reader: SdkReader
):
    key = {"WANDB_API_KEY": sandbox.api_key}
    strict = ["--verify", "full", "--strict", "--accept", "state_not_representable"]
    plan = command("plan", *arguments, environ=key)
    assert plan.status == 0, plan.text
    assert "team-names/seeing" in plan.text
    done = command("migrate", *arguments, *strict, environ=key)
    assert done.status == 0, done.text
    assert "metric_renamed" in done.text

    runs = {run.name: run for run in reader.project("team-names", "seeing").values()}
    assert set(runs) == {"sweep 1", "trial 0", "trial 1", "trial 2", "grandchild"}
    trial = runs["trial 1"]
    assert trial.config["learning_rate"] == "0.1"
    assert trial.labels["attempt"] == "1"
    assert trial.provenance["user"] == "lovelace"
    told = {loss["detail"] for loss in trial.provenance["losses"]}
    assert "'loss' became 'train/loss', as the mapping asks" in told
    assert {key for key, *_ in trial.points()} == {"train/loss", "eval/loss", "acc"}
    assert [one.name for one in trial.artifacts if not one.type.startswith("wandb-")] == ["weights-1:v0"]
    assert len(reader.project("e2e", "words-text", bytes_too=False)) == 5

    again = command("verify", *arguments, environ=key)
    assert again.status == 0, again.text


def test_without_the_mapping_a_verification_finds_the_old_names_missing(
    arguments: list[str], sandbox: RunningSandbox, tmp_path: Path
):
    places = tmp_path / "places.yaml"
    places.write_text("\n".join(MAPPING.splitlines()[:5]))
    found = command("verify", *arguments[:-1], str(places), environ={"WANDB_API_KEY": sandbox.api_key})
    assert found.status == 1
    assert "differences (full)" in found.text


def test_a_wrong_mapping_is_refused_before_anything_is_asked(tmp_path: Path):
    mapping = tmp_path / "names.yaml"
    mapping.write_text("version: 1\nmetric: {a: b}\nconfig: {a: c, b: c}\n")
    for arguments in (
        ["migrate", "mlflow:nowhere", "wandb:nobody", "--map", str(mapping)],
        ["map", "check", str(mapping)],
        ["map", "explain", str(mapping), "a"],
    ):
        told = command(*arguments)
        assert told.status == 2
        assert "did you mean 'metrics'?" in told.text
        assert "'b' and 'a' (line 3) would both become 'c'" in told.text


def test_explain_says_which_rule_is_about_a_name(tmp_path: Path):
    mapping = tmp_path / "names.yaml"
    mapping.write_text(MAPPING)
    told = command("map", "explain", str(mapping), "val/loss", "--json")
    assert told.events[0]["sections"]["metrics"] == {"line": 9, "rule": "re:val/(.*)", "becomes": "eval/loss"}
    assert told.events[0]["sections"]["config"] is None
    assert "eval/loss" in command("map", "explain", str(mapping), "val/loss", "--as", "metrics").text
