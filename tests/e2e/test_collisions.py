"""What would become one at the destination is refused before anything is written, all of it at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.transfers import Outcome, command
from tests.sandbox.artifact_writer import ArtifactWriter
from tests.servers import RunningSandbox

FIRST, SECOND, PLACE = "collides", "collides-too", "collided"

RUN = "mutation ($i: UpsertBucketInput!) { upsertBucket(input: $i) { bucket { id } } }"
SWEEP = "mutation ($i: UpsertSweepInput!) { upsertSweep(input: $i) { sweep { id } } }"
PROJECTS = "query ($e: String!) { models(entityName: $e, first: 1000) { edges { node { name } } } }"


EVERY_KIND = """
config: {rate: lr}
metrics: {re:acc.*: accuracy}
tags: {prod: production, a: b}
aliases: {best: champion}
artifacts: {re:net-of-.*: model}
"""


@pytest.fixture(scope="module")
def filled(sandbox: RunningSandbox) -> RunningSandbox:
    for project in (FIRST, SECOND):
        told = {
            "entityName": "e2e",
            "modelName": project,
            "name": "twin",
            "tags": ["prod", "production"],
            "config": json.dumps({"lr": {"value": 1}, "rate": {"value": 2}}),
            "summaryMetrics": json.dumps({"acc": 1, "accuracy": 1}),
        }
        sandbox.graphql(RUN, i=told)
        sandbox.graphql(RUN, i={**told, "name": f"only-{project}"})
        parameters = {"lr": {"value": 1}, "rate": {"value": 2}}
        search = {"method": "grid", "parameters": parameters}
        sandbox.graphql(SWEEP, i={"entityName": "e2e", "projectName": project, "config": json.dumps(search)})
        artifacts = ArtifactWriter(sandbox, project, entity="e2e")
        for number, alias in enumerate(("best", "champion")):
            aliases = [{"alias": alias, "artifactCollectionName": "model"}]
            artifacts.log("model", {"w": b"%d" % number}, runName="twin", aliases=aliases)
        artifacts.log(
            f"net-of-{project}", {"n": b"n"}, runName="twin", tags=[{"tagName": "a"}, {"tagName": "b"}]
        )
    return sandbox


def migrate(server: RunningSandbox, tmp_path: Path, *options: str, mapping: str = "") -> Outcome:
    (tmp_path / "names.yaml").write_text(f"version: 1\n{mapping}")
    return command(
        "migrate",
        f"wandb:{server.url}/e2e",
        f"wandb:{server.url}/team-mapped",
        *("--experiment", FIRST, "--experiment", SECOND, "--map", str(tmp_path / "names.yaml"), *options),
        environ={"WANDB_API_KEY": server.api_key},
    )


def refused(server: RunningSandbox, outcome: Outcome, *told: str) -> None:
    assert outcome.status == 2, outcome.text
    for message in told:
        assert message in outcome.text
    there = {edge["node"]["name"] for edge in server.graphql(PROJECTS, e="team-mapped")["models"]["edges"]}
    assert there.isdisjoint({PLACE, FIRST, SECOND})


def test_names_of_all_kinds_are_told_at_once(filled: RunningSandbox, tmp_path: Path) -> None:
    told = [
        "'lr' and 'rate' (config) would both become 'lr'",
        "'acc' and 'accuracy' (metrics) would both become 'accuracy'",
        "'prod' and 'production' (tags) would both become 'production'",
        "'a' and 'b' (tags) would both become 'b'",
        f"artifact e2e/{FIRST}/net-of-{FIRST}:v0",
        f"'best' and 'champion' (aliases) would both become 'champion' [artifact e2e/{FIRST}/model",
        f"'model' and 'net-of-{FIRST}' (artifacts) would both become 'model' [project e2e/{FIRST}]",
        f"'model' and 'net-of-{SECOND}' (artifacts) would both become 'model' [project e2e/{SECOND}]",
        f"two of its parameters would get the same name [sweep e2e/{FIRST}/",
        "9 things stand in the way, and nothing was started",
    ]
    refused(filled, migrate(filled, tmp_path, mapping=EVERY_KIND), *told)


def test_what_may_be_merged_is_not_in_the_way(filled: RunningSandbox, tmp_path: Path) -> None:
    mapping = "tags: {prod: production, a: b}\nmerge: [tags]"
    options = ("--remap", f"{FIRST}=team-mapped/merged-tags", "--remap", f"{SECOND}=team-mapped/merged-too")
    done = migrate(filled, tmp_path, *options, mapping=mapping)
    assert done.status == 0, done.text
    told = filled.graphql(
        '{ project(name: "merged-tags", entityName: "team-mapped") { run(name: "twin") { tags } } }'
    )
    assert told["project"]["run"]["tags"] == ["production"]


def test_projects_that_a_pattern_sends_to_one_place(filled: RunningSandbox, tmp_path: Path) -> None:
    outcome = migrate(filled, tmp_path, mapping=f"namespaces: {{re:collides.*: team-mapped/{PLACE}}}")
    refused(
        filled, outcome, f"e2e/{FIRST}, e2e/{SECOND} → team-mapped/{PLACE}", "runs of the same id", "model"
    )


def test_a_project_that_is_sent_to_where_another_one_goes_by_itself(
    filled: RunningSandbox, tmp_path: Path
) -> None:
    outcome = migrate(filled, tmp_path, "--remap", f"{FIRST}=team-mapped/{SECOND}")
    refused(
        filled,
        outcome,
        f"e2e/{FIRST} would come to team-mapped/{SECOND}, where e2e/{SECOND} goes by itself",
        f"--remap e2e/{SECOND}=team-mapped/{SECOND}",
    )


def test_runs_and_artifacts_of_projects_that_are_meant_to_meet(
    filled: RunningSandbox, tmp_path: Path
) -> None:
    meet = [word for name in (FIRST, SECOND) for word in ("--remap", f"{name}=team-mapped/{PLACE}")]
    outcome = migrate(filled, tmp_path, *meet)
    refused(
        filled,
        outcome,
        f"runs of the same id would meet in team-mapped/{PLACE}: twin (e2e/{FIRST}, e2e/{SECOND})",
        f"artifacts of the same name would meet in team-mapped/{PLACE}: model (e2e/{FIRST}, e2e/{SECOND})",
        "--ids suffix",
    )
    plan = command(
        "plan",
        f"wandb:{filled.url}/e2e",
        f"wandb:{filled.url}/team-mapped",
        *("--experiment", FIRST, "--experiment", SECOND, *meet),
        environ={"WANDB_API_KEY": filled.api_key},
    )
    refused(filled, plan, "runs of the same id would meet", "artifacts of the same name would meet")
    done = migrate(filled, tmp_path, *meet, "--ids", "suffix", "--no-artifacts")
    assert done.status == 0, done.text
    again = migrate(filled, tmp_path, *meet, "--ids", "suffix", "--no-artifacts")
    assert again.status == 0, again.text
