"""Projects are listed, changed, renamed and deleted."""

from __future__ import annotations

from typing import Any

from tests.sandbox.conftest import upsert
from tests.servers import RunningSandbox, send

UPSERT_MODEL = """mutation($name: String, $entity: String, $description: String) {
    upsertModel(input: {name: $name, entityName: $entity, description: $description}) {
        inserted project { id name entityName description access createdAt isBenchmark internalId
            entity { name } user { username } } } }"""


def test_a_project_is_made_once_and_changed_afterwards(sandbox: RunningSandbox, project: str) -> None:
    made = sandbox.graphql(UPSERT_MODEL, name=project, entity="lab", description="first")["upsertModel"]
    assert made["inserted"]
    assert made["project"]["entity"] == {"name": "lab"}
    assert made["project"]["user"] == {"username": "ann"}
    again = sandbox.graphql(UPSERT_MODEL, name=project, entity="lab", description="second")["upsertModel"]
    assert not again["inserted"]
    assert again["project"] == {**made["project"], "description": "second"}
    kept = sandbox.graphql(UPSERT_MODEL, name=project, entity="lab")["upsertModel"]["project"]
    assert kept["description"] == "second"


def test_renaming_keeps_the_runs(sandbox: RunningSandbox, project: str) -> None:
    upsert(sandbox, modelName=project, name="r")
    rename = """mutation($old: String!, $new: String!) { renameProject(input: {entityName: "ann",
        oldProjectName: $old, newProjectName: $new}) { project { name runCount } } }"""
    done = sandbox.graphql(rename, old=project, new=f"{project}-b")
    assert done["renameProject"]["project"] == {"name": f"{project}-b", "runCount": 1}
    assert sandbox.ask(rename, old=project, new="x")[0] == 404
    upsert(sandbox, modelName=project)
    assert sandbox.ask(rename, old=project, new=f"{project}-b")[0] == 409


def test_a_deleted_project_is_gone_with_its_runs_and_its_name_is_free(
    sandbox: RunningSandbox, project: str
) -> None:
    upsert(sandbox, modelName=project, name="r")
    sandbox.call(
        "POST",
        f"/files/ann/{project}/r/file_stream",
        {"files": {"wandb-history.jsonl": {"offset": 0, "content": ['{"_step": 0}']}}},
    )
    id_ = sandbox.graphql("query($p: String) { project(name: $p) { id } }", p=project)["project"]["id"]
    delete = "mutation($id: String!) { deleteModel(input: {id: $id}) { success } }"
    assert sandbox.ask(delete, key=sandbox.keys["bob"], id=id_)[0] == 403
    assert sandbox.graphql(delete, id=id_) == {"deleteModel": {"success": True}}
    assert sandbox.graphql("query($p: String) { project(name: $p) { id } }", p=project)["project"] is None
    assert upsert(sandbox, modelName=project, name="r")["bucket"]["historyLineCount"] == 0


def test_projects_are_listed_page_by_page_the_newest_first(sandbox: RunningSandbox) -> None:
    names = [f"listed-{i}" for i in range(5)]
    eve = sandbox.keys["eve"]
    for name in names:
        upsert(sandbox, key=eve, modelName=name)
    query = """query($c: String) { models(entityName: "eve", first: 2, after: $c) {
        edges { node { name } } pageInfo { endCursor hasNextPage } } }"""
    found: list[str] = []
    page: Any = {"pageInfo": {"endCursor": None, "hasNextPage": True}}
    while page["pageInfo"]["hasNextPage"]:
        page = sandbox.graphql(query, key=eve, c=page["pageInfo"]["endCursor"])["models"]
        found += [edge["node"]["name"] for edge in page["edges"]]
    assert found == names[::-1]


def test_nothing_of_a_deleted_project_comes_back_in_a_later_one(
    sandbox: RunningSandbox, project: str
) -> None:
    run = upsert(sandbox, modelName=project, name="r")["bucket"]
    create = """mutation($p: String!) { createRunFiles(input: {entityName: "ann", projectName: $p,
        runName: "r", files: ["old.txt"]}) { files { uploadUrl directUrl } } }"""
    (file,) = sandbox.graphql(create, p=project)["createRunFiles"]["files"]
    assert send("PUT", file["uploadUrl"], b"old")[0] == 200
    id_ = sandbox.graphql("query($p: String) { project(name: $p) { id } }", p=project)["project"]["id"]
    sandbox.graphql("mutation($id: String!) { deleteModel(input: {id: $id}) { success } }", id=id_)
    assert send("GET", file["directUrl"])[0] == 404
    again = upsert(sandbox, modelName=project, name="r")["bucket"]
    assert again["id"] != run["id"]
    query = """query($p: String) { project(name: $p) { id run(name: "r") { fileCount
        files(names: ["old.txt"]) { edges { node { sizeBytes } } } } } }"""
    found = sandbox.graphql(query, p=project)["project"]
    assert found["id"] != id_
    assert found["run"] == {"fileCount": 0, "files": {"edges": [{"node": {"sizeBytes": 0}}]}}
