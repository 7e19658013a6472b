"""Every route asks for a key, and a key opens only its owner's entities."""

from __future__ import annotations

import base64
import json
import stat

import pytest

from tests.sandbox.conftest import UPSERT, upsert
from tests.servers import RunningSandbox, send


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/graphql"),
        ("POST", "/files/ann/p/r/file_stream"),
        ("GET", "/admin/counters"),
    ],
)
@pytest.mark.parametrize(
    "credentials",
    [None, "Basic " + base64.b64encode(b"api:" + b"0" * 40).decode(), "Basic ???", "Bearer x", "Basic YXBp"],
)
def test_without_a_known_key_the_answer_is_401(
    sandbox: RunningSandbox, method: str, path: str, credentials: str | None
) -> None:
    headers = {} if credentials is None else {"Authorization": credentials}
    status, body = send(method, sandbox.url + path, b"{}" if method == "POST" else None, headers)
    assert status == 401
    assert b"errors" in body


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/sdk/otel/v1/metrics"), ("POST", "/sdk/otel/v1/logs"), ("GET", "/no/such/route")],
)
def test_a_route_that_is_not_there_says_so_without_a_key(
    sandbox: RunningSandbox, method: str, path: str
) -> None:
    """The SDK asks so whether a server takes its telemetry, and complains to its user about a 401."""
    status, body = send(method, sandbox.url + path, b"" if method == "POST" else None)
    assert (status, list(json.loads(body))) == (404, ["errors"])


def test_the_user_part_of_basic_auth_does_not_matter(sandbox: RunningSandbox) -> None:
    for user in ("api", "", "somebody"):
        basic = base64.b64encode(f"{user}:{sandbox.api_key}".encode()).decode()
        status, _ = send("GET", f"{sandbox.url}/admin/counters", None, {"Authorization": f"Basic {basic}"})
        assert status == 200


def test_keys_are_long_enough_for_the_sdk_and_kept_private(sandbox: RunningSandbox) -> None:
    assert set(sandbox.keys) == {"ann", "bob", "eve"}
    assert all(len(key) >= 40 for key in sandbox.keys.values())
    assert len(set(sandbox.keys.values())) == 3
    for name in ("api-keys.json", "secret"):
        assert stat.S_IMODE((sandbox.data_dir / name).stat().st_mode) == 0o600
    assert not any(
        key.encode() in (sandbox.data_dir / "records.sqlite").read_bytes() for key in sandbox.keys.values()
    )


def test_only_members_write_to_an_entity(sandbox: RunningSandbox, project: str) -> None:
    fields = {"entityName": "lab", "modelName": project, "name": "r"}
    status, body = sandbox.ask(UPSERT, key=sandbox.keys["bob"], input=fields)
    assert status == 403
    assert "bob may not write to entity lab" in body["errors"][0]["message"]
    assert upsert(sandbox, **fields)["inserted"]
    assert not upsert(sandbox, key=sandbox.keys["eve"], **fields)["inserted"]


def test_the_run_of_another_can_be_changed_by_no_id(sandbox: RunningSandbox, project: str) -> None:
    run = upsert(sandbox, modelName=project, name="mine")["bucket"]
    bob = sandbox.keys["bob"]
    assert sandbox.ask(UPSERT, key=bob, input={"id": run["id"], "notes": "x"})[0] == 403
    delete = "mutation($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"
    assert sandbox.ask(delete, key=bob, id=run["id"])[0] == 403
    stream = f"/files/ann/{project}/mine/file_stream"
    assert sandbox.call("POST", stream, {}, key=bob)[0] == 403
    assert sandbox.call("POST", stream, {})[0] == 200


def test_the_projects_of_another_are_not_there(sandbox: RunningSandbox, project: str) -> None:
    upsert(sandbox, modelName=project, name="mine")
    query = 'query($p: String) { project(name: $p, entityName: "ann") { id } entity(name: "ann") { id } }'
    assert sandbox.graphql(query, key=sandbox.keys["bob"], p=project) == {"project": None, "entity": None}


def test_unknown_entities_are_never_created(sandbox: RunningSandbox) -> None:
    status, body = sandbox.ask(UPSERT, input={"entityName": "nobody", "modelName": "p", "name": "r"})
    assert status == 404
    assert body["errors"][0]["message"] == "entity nobody not found"


def test_a_generated_key_works_until_it_is_deleted(sandbox: RunningSandbox) -> None:
    bob = sandbox.keys["bob"]
    made = sandbox.graphql(
        'mutation { generateApiKey(input: {description: "ci"}) { apiKey { id name } } }', key=bob
    )["generateApiKey"]["apiKey"]
    assert sandbox.graphql("{ viewer { username } }", key=made["name"])["viewer"]["username"] == "bob"
    delete = "mutation($id: String) { deleteApiKey(input: {id: $id}) { success } }"
    assert sandbox.ask(delete, id=made["id"])[0] == 404, "ann cannot delete bob's key"
    assert sandbox.graphql(delete, key=bob, id=made["id"]) == {"deleteApiKey": {"success": True}}
    assert sandbox.ask("{ viewer { id } }", key=made["name"])[0] == 401


def test_a_new_team_belongs_to_its_founder(sandbox: RunningSandbox) -> None:
    bob = sandbox.keys["bob"]
    create = 'mutation { createTeam(input: {teamName: "crew"}) { entity { name isTeam } } }'
    assert sandbox.graphql(create, key=bob) == {"createTeam": {"entity": {"name": "crew", "isTeam": True}}}
    assert sandbox.ask(create)[0] == 409
    assert upsert(sandbox, key=bob, entityName="crew", modelName="p")["inserted"]
    assert sandbox.ask(UPSERT, input={"entityName": "crew", "modelName": "p"})[0] == 403
