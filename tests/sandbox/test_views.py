"""Views as the protocol has them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.servers import RunningSandbox

UPSERT = """mutation ($input: UpsertViewInput!) { upsertView(input: $input) { inserted view {
    id type name displayName description spec createdUsing project { name entityName } user { username }
    parentId updatedBy { username } } } }"""
READ = "query ($id: ID!) { view(id: $id) { id spec displayName children { totalCount } } }"
DELETE = "mutation ($input: DeleteViewInput!) { deleteView(input: $input) { success pendingDrafts } }"
LIST = """query ($p: String, $type: String, $name: String, $first: Int, $after: String) { project(name: $p) {
    allViews(viewType: $type, viewName: $name, first: $first, after: $after) { totalCount
    edges { cursor node { displayName } } pageInfo { hasNextPage endCursor } } } }"""

SPEC = json.dumps({"version": 5, "blocks": [{"type": "unheard-of", "children": [{"text": "ü"}]}]})


def save(sandbox: RunningSandbox, project: str, **fields: Any) -> Any:
    given = {"entityName": "ann", "projectName": project, "type": "runs", "spec": SPEC, **fields}
    return sandbox.graphql(UPSERT, input=given)["upsertView"]


def test_a_view_keeps_its_spec_whatever_it_holds(sandbox: RunningSandbox, project: str) -> None:
    saved = save(sandbox, project, name="abc", displayName="Title", createdUsing="WANDB_SDK")
    assert saved["inserted"]
    view = saved["view"]
    assert view["project"] == {"name": project, "entityName": "ann"}, "a missing project is created"
    assert view["user"] == {"username": "ann"}
    assert sandbox.graphql(READ, id=view["id"])["view"]["spec"] == SPEC
    assert base64.b64decode(view["id"], validate=True).decode().startswith("View:")


def test_an_update_leaves_what_it_does_not_name(sandbox: RunningSandbox, project: str) -> None:
    view = save(sandbox, project, displayName="Title", description="why")["view"]
    changed = sandbox.graphql(UPSERT, input={"id": view["id"], "spec": "{}"})["upsertView"]
    assert not changed["inserted"]
    assert changed["view"] == {**view, "spec": "{}"}


@pytest.mark.parametrize("spec", ["no JSON", "[]"])
def test_a_spec_must_be_an_object(sandbox: RunningSandbox, project: str, spec: str) -> None:
    given = {"entityName": "ann", "projectName": project, "spec": spec}
    assert sandbox.ask(UPSERT, input=given)[0] == 400


def test_views_are_listed_by_type_and_name_and_page_by_page(sandbox: RunningSandbox, project: str) -> None:
    for number in range(3):
        save(sandbox, project, displayName=f"report {number}")
    save(sandbox, project, displayName="workspace", type="project-view", name="nw-x-v")
    titles, after = [], None
    while True:
        page = sandbox.graphql(LIST, p=project, type="runs", first=2, after=after)["project"]["allViews"]
        assert page["totalCount"] == 3
        titles += [edge["node"]["displayName"] for edge in page["edges"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["edges"][-1]["cursor"]
    assert titles == ["report 2", "report 1", "report 0"]
    found = sandbox.graphql(LIST, p=project, type="project-view", name="nw-x-v")["project"]["allViews"]
    assert [edge["node"]["displayName"] for edge in found["edges"]] == ["workspace"]


def test_drafts_go_with_their_report_on_request(sandbox: RunningSandbox, project: str) -> None:
    first = save(sandbox, project)["view"]["id"]
    second = save(sandbox, project)["view"]["id"]
    for report in (first, second):
        save(sandbox, project, type="runs/draft", parentId=report)
    kept = sandbox.graphql(DELETE, input={"id": first})["deleteView"]
    assert kept == {"success": True, "pendingDrafts": True}
    gone = sandbox.graphql(DELETE, input={"id": second, "deleteDrafts": True})["deleteView"]
    assert gone == {"success": True, "pendingDrafts": False}
    drafts = sandbox.graphql(LIST, p=project, type="runs/draft")["project"]["allViews"]
    assert drafts["totalCount"] == 1
    assert sandbox.graphql(READ, id=first)["view"] is None


def test_strangers_neither_read_nor_write(sandbox: RunningSandbox, project: str) -> None:
    view, bob = save(sandbox, project)["view"]["id"], sandbox.keys["bob"]
    assert sandbox.graphql(READ, key=bob, id=view)["view"] is None
    assert sandbox.ask(UPSERT, key=bob, input={"id": view, "spec": "{}"})[0] == 404
    given = {"entityName": "ann", "projectName": project, "spec": "{}"}
    assert sandbox.ask(UPSERT, key=bob, input=given)[0] == 403
