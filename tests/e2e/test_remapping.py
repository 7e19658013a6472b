"""With ``--map``, a migration arrives under its new names, and a verification knows them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import anyio
import pytest
import wandb
from mlflow import MlflowClient
from mlflow.entities import Metric
from typer.testing import CliRunner

from engine import Engine, Options, open_destination, open_source
from engine.cli.main import app
from engine.protocols import Destination, Source, SystemOptions
from engine.remapping.reading import parse_mapping
from engine.remapping.source import remapped
from engine.transfer.options import Result
from engine.verify.verifier import Verifier, VerifyOptions
from tests.e2e.transfers import Target, command
from tests.sandbox.artifact_writer import ArtifactWriter, canonical_digest, manifest_of, md5_b64
from tests.sdk_reader import SdkReader
from tests.servers import RunningSandbox
from tests.stores import ordinary_store, sqlite_store

MAPPING = r"""
version: 1
namespaces:
  vision/resnet: team-mapped/seeing
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
    assert "team-mapped/seeing" in plan.text
    done = command("migrate", *arguments, *strict, environ=key)
    assert done.status == 0, done.text
    assert "metric_renamed" in done.text

    runs = {run.name: run for run in reader.project("team-mapped", "seeing").values()}
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


EVERY_KIND = r"""
version: 1
namespaces: {ann/vision: research/seeing, trained: learned, re:lab/(.*): research/lab-\1}
users: {ada@old.example: ada}
tags: {re:v(\d+): version-\1}
config: {lr: learning_rate}
metrics: {re:val_(.*): val/\1, loss: train/loss}
artifacts: {re:model_v\d+_(.*): \1}
aliases: {best: champion}
references: {s3://old/: s3://new/}
"""


@pytest.mark.parametrize(
    ("section", "name", "becomes"),
    [
        ("namespaces", "ann/vision", "research/seeing"),
        ("namespaces", "anybody/trained", "learned"),
        ("namespaces", "lab/x", "research/lab-x"),
        ("namespaces", "bob/vision", None),
        ("users", "ada@old.example", "ada"),
        ("tags", "v12", "version-12"),
        ("config", "lr", "learning_rate"),
        ("config", "lr.value", None),
        ("metrics", "val_loss", "val/loss"),
        ("artifacts", "model_v3_net", "net"),
        ("aliases", "best", "champion"),
        ("references", "s3://old/deep/file", "s3://new/deep/file"),
        ("references", "gs://old/", None),
    ],
)
def test_explain_tells_of_every_kind(tmp_path: Path, section: str, name: str, becomes: str | None):
    mapping = tmp_path / "names.yaml"
    mapping.write_text(EVERY_KIND)
    done = CliRunner().invoke(app, ["map", "explain", str(mapping), name, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)["sections"]
    assert {kind for kind, hit in told.items() if hit is not None} == ({section} if becomes else set())
    assert not becomes or told[section]["becomes"] == becomes


RENAMED = r"""
version: 1
namespaces: {e2e/mapped-from: team-mapped/mapped-to}
users: {e2e: someone}
tags: {prod: production}
config: {lr: learning_rate}
metrics: {loss: train/loss}
"""


def test_runs_of_wandb_get_new_names_with_their_definitions(
    sandbox: RunningSandbox, reader: SdkReader, tmp_path: Path
):
    config = {
        "lr": {"value": 0.1, "desc": "how fast"},
        "_wandb": {"value": {"m": [{"1": "loss", "5": 2, "6": [1]}, {"1": "epoch"}], "t": {"3": []}}},
    }
    sandbox.graphql(
        "mutation ($input: UpsertBucketInput!) { upsertBucket(input: $input) { bucket { id } } }",
        input={
            "entityName": "e2e",
            "modelName": "mapped-from",
            "name": "r1",
            "tags": ["prod", "x"],
            "config": json.dumps(config),
        },
    )
    rows = [{"_step": step, "_timestamp": 1e9 + step, "loss": step / 2, "epoch": step} for step in range(3)]
    streamed = {
        "wandb-history.jsonl": {"offset": 0, "content": [json.dumps(row) for row in rows]},
        "wandb-summary.json": {"offset": 0, "content": ['{"loss": 1.0}']},
    }
    status, body = sandbox.call(
        "POST", "/files/e2e/mapped-from/r1/file_stream", {"files": streamed, "complete": True, "exitcode": 0}
    )
    assert status == 200, body
    mapping = parse_mapping(RENAMED)

    def sides() -> tuple[Source, Destination]:
        key = SystemOptions(api_key=sandbox.api_key)
        source = open_source(f"wandb:{sandbox.url}/e2e/mapped-from", key)
        return remapped(source, mapping), open_destination(f"wandb:{sandbox.url}/e2e", key)

    async def migrate() -> Result:
        options = Options(remap=mapping.places({}), state_dir=tmp_path)
        async with Engine(*sides(), options) as engine:
            return await engine.run()

    result = anyio.run(migrate)
    assert not result.failures
    assert {kind: result.losses[kind] for kind in mapping.kinds} == dict.fromkeys(mapping.kinds, 1)
    run = reader.project("team-mapped", "mapped-to", bytes_too=False)["r1"]
    assert (run.config["learning_rate"], run.tags) == (0.1, ("production", "x"))
    assert run.provenance["user"] == "someone"
    assert run.summary["train/loss"] == 1.0
    assert [row["train/loss"] for row in run.rows] == [0.0, 0.5, 1.0]
    stored = sandbox.graphql(
        '{ project(name: "mapped-to", entityName: "team-mapped") { run(name: "r1") { config } } }'
    )
    own = json.loads(stored["project"]["run"]["config"])
    assert own["_wandb"]["value"]["m"][0]["1"] == "train/loss"
    assert own["learning_rate"]["desc"] == "how fast"
    findings = anyio.run(Verifier(*sides(), VerifyOptions(remap=mapping.places({}))).run)
    assert not findings.differences
    assert anyio.run(migrate).runs_skipped == 1


def test_changed_rules_bring_a_history_under_its_newest_names(
    sandbox: RunningSandbox, reader: SdkReader, tmp_path: Path
):
    store = sqlite_store(tmp_path)
    client = MlflowClient(store.uri)
    run = client.create_run(client.create_experiment("renamed twice"))
    client.log_batch(run.info.run_id, metrics=[Metric("loss", step / 2, step, step) for step in range(4)])
    client.set_terminated(run.info.run_id)
    for name in ("first", "second"):
        mapping = tmp_path / f"{name}.yaml"
        mapping.write_text(f"version: 1\nmetrics: {{loss: {name}/loss}}")
        done = command(
            "migrate",
            f"mlflow:{store.uri}",
            Target(sandbox.url, sandbox.api_key, "e2e").uri,
            *("--map", str(mapping), "--verify", "full", "--experiment", "renamed twice"),
            environ={"WANDB_API_KEY": sandbox.api_key, "ENGINE_STATE_DIR": str(tmp_path / "state")},
        )
        assert done.status == 0, done.text
    (there,) = reader.project("e2e", "renamed twice", bytes_too=False).values()
    assert [row.get("second/loss") for row in there.rows] == [0.0, 0.5, 1.0, 1.5]
    assert "first/loss" not in there.summary


def test_references_follow_renamed_artifacts(sandbox: RunningSandbox, tmp_path: Path):
    project = "refers"
    sandbox.graphql(
        'mutation ($p: String) { upsertBucket(input: {name: "r", modelName: $p}) { inserted } }', p=project
    )
    artifacts = ArtifactWriter(sandbox, project, entity="e2e")
    artifacts.log("weights", {"w.bin": b"w"}, runName="r")
    by_id = f"wandb-artifact://{base64.b64decode(artifacts.membership('weights:v0')['artifact']['id']).hex()}"
    linked = md5_b64(b"w")
    entry = {"digest": linked, "ref": f"{by_id}/w.bin", "size": 1}
    digest = canonical_digest({"linked": linked})
    referring = artifacts.create("referring", digest, runName="r")
    artifacts.upload_manifest(referring["id"], manifest_of({"linked": entry}))
    artifacts.commit(referring["id"])
    by_name = "wandb-artifact://e2e/refers/weights:latest/w.bin"
    sandbox.graphql(
        "mutation ($i: UpsertViewInput!) { upsertView(input: $i) { view { id } } }",
        i={
            "entityName": "e2e",
            "projectName": project,
            "type": "runs",
            "name": "told",
            "displayName": "Told",
            "spec": json.dumps({"version": 5, "blocks": [{"text": f"{by_id}/w.bin"}, {"text": by_name}]}),
        },
    )
    mapping = parse_mapping("version: 1\nnamespaces: {refers: e2e/referred}\nartifacts: {weights: params}")

    async def migrate() -> Result:
        key = SystemOptions(api_key=sandbox.api_key)
        source = remapped(open_source(f"wandb:{sandbox.url}/e2e/{project}", key), mapping)
        target = open_destination(f"wandb:{sandbox.url}/e2e", key)
        async with Engine(source, target, Options(remap=mapping.places({}), state_dir=tmp_path)) as engine:
            return await engine.run()

    result = anyio.run(migrate)
    assert not result.failures
    assert "reference_unresolved" not in result.losses
    api = wandb.Api(overrides={"base_url": sandbox.url}, api_key=sandbox.api_key)
    there = api.artifact("e2e/referred/params:v0")
    here = f"wandb-artifact://{base64.b64decode(there.id).hex()}/w.bin"
    assert api.artifact("e2e/referred/referring:v0").manifest.entries["linked"].ref == here
    (report,) = api.reports("e2e/referred")
    assert [block["text"] for block in report.spec["blocks"]] == [
        here,
        "wandb-artifact://e2e/referred/params:latest/w.bin",
    ]
