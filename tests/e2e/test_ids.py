"""Ids that are taken at the destination, as a person meets them at the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.transfers import Target, command, migrate_command
from tests.hostile import many_runs_store
from tests.sdk_reader import SdkReader
from tests.servers import RunningSandbox

UPSERT = """
mutation Upsert($e: String!, $p: String!, $r: String!) {
  upsertBucket(input: {entityName: $e, modelName: $p, name: $r}) { bucket { id } }
}
"""
DELETE = "mutation Delete($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"


def test_taken_ids_are_told_and_the_remedy_brings_the_rest_verified(
    projects: Iterator[Target], sandbox: RunningSandbox, reader: SdkReader, tmp_path: Path
) -> None:
    target, store = next(projects), many_runs_store(tmp_path / "store", runs=4)
    taken, burnt, *_ = store.runs.values()
    for name in (taken, burnt):
        made = sandbox.graphql(UPSERT, e=target.entity, p=target.project, r=name)
    sandbox.graphql(DELETE, id=made["upsertBucket"]["bucket"]["id"])
    state = ("--state-dir", str(tmp_path / "state"))

    first = migrate_command(store.uri, target, *state, "--json")
    assert (first.status, first.events[-1]["exit_status"]) == (1, 1)
    assert "2 items did not arrive" in first.text
    assert f"holds another run of the id '{taken}'" in first.text
    assert "used before and deleted" in first.text
    assert "--ids suffix" in first.text

    second = migrate_command(store.uri, target, *state, "--ids", "suffix")
    assert second.status == 0, second.text
    renamed = {taken: f"{taken}-2", burnt: f"{burnt}-2"}
    runs = reader.project(target.entity, target.project)
    assert runs.keys() == {taken, *(renamed.get(name, name) for name in store.runs.values())}
    assert [len(runs[name].rows) for name in renamed.values()] == [1, 1]
    assert runs[taken].rows == []
    lines = [json.loads(line) for line in (tmp_path / "state" / "id_map.jsonl").read_text().splitlines()]
    assert {line["run_id"]: line["dst_run_id"] for line in lines} == renamed

    third = migrate_command(store.uri, target, *state)
    assert (third.status, "Nothing changed" in third.text) == (0, True)
    verified = command(
        "verify", f"mlflow:{store.uri}", target.uri, *state, environ={"WANDB_API_KEY": target.api_key}
    )
    assert "missing" not in verified.text
