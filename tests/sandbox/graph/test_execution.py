"""The GraphQL endpoint executes what is valid, and refuses the rest with W&B's statuses."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import build_schema, validate_schema

from engine.sandbox.graph.execution import SCHEMA_DIR, snake
from tests.servers import RunningSandbox


def test_the_schema_is_valid_graphql() -> None:
    text = "\n".join(path.read_text() for path in sorted(SCHEMA_DIR.glob("*.graphql")))
    assert validate_schema(build_schema(text)) == []


def test_an_empty_operation_name_counts_as_absent(sandbox: RunningSandbox) -> None:
    assert sandbox.graphql("query Who { viewer { username } }", operation="") == {
        "viewer": {"username": "ann"}
    }


def test_variables_that_no_operation_declares_are_ignored(sandbox: RunningSandbox) -> None:
    assert sandbox.graphql("{ viewer { username } }", locked=True, projectName="x") == {
        "viewer": {"username": "ann"}
    }


def test_aliases_fragments_directives_and_comments_work(sandbox: RunningSandbox) -> None:
    document = """#graphql
    query Q($yes: Boolean!) {
        me: viewer { ...F entity @skip(if: $yes) } again: viewer @include(if: $yes) { id } }
    fragment F on User { username\t__typename }"""
    data = sandbox.graphql(document, yes=True)
    assert data["me"] == {"username": "ann", "__typename": "User"}
    assert set(data) == {"me", "again"}


def test_several_operations_need_a_name(sandbox: RunningSandbox) -> None:
    document = "query A { viewer { username } } query B { viewer { email } }"
    assert sandbox.graphql(document, operation="B") == {"viewer": {"email": "ann@example.org"}}
    assert sandbox.ask(document)[0] == 400


def test_introspection_works(sandbox: RunningSandbox) -> None:
    data = sandbox.graphql('{ __type(name: "UpsertBucketInput") { inputFields { name } } }')
    assert {"name": "summaryMetrics"} in data["__type"]["inputFields"]


@pytest.mark.parametrize(
    ("document", "variables", "said"),
    [
        ("{ viewer { nickname } }", {}, "Cannot query field 'nickname' on type 'User'"),
        ('{ project(title: "x") { id } }', {}, "Unknown argument 'title'"),
        ("{ viewer }", {}, "must have a selection of subfields"),
        ("{ viewer {", {}, "Syntax Error"),
        ('{ project(name: "x") { run { id } } }', {}, "'name' of type 'String!' is required"),
        (
            "mutation { upsertBucket(input: {runName: 1}) { inserted } }",
            {},
            "'runName' is not defined by type",
        ),
        ("mutation { upsertBucket(input: {name: 1}) { inserted } }", {}, "String cannot represent"),
        ('mutation { upsertBucket(input: {config: "{"}) { inserted } }', {}, "JSONString holds no JSON"),
        ("query($n: String!) { project(name: $n) { id } }", {}, "Variable '$n' of required type"),
        ("query($n: Int) { project(name: $n) { id } }", {"n": 1}, "in position expecting type 'String'"),
        (
            "mutation($i: UpsertViewInput!) { upsertView(input: $i) { inserted } }",
            {"i": {"createdUsing": "CURL"}},
            "does not exist in 'ViewSource' enum",
        ),
    ],
)
def test_what_does_not_fit_the_schema_is_a_bad_request(
    sandbox: RunningSandbox, document: str, variables: dict[str, Any], said: str
) -> None:
    status, body = sandbox.ask(document, **variables)
    assert status == 400
    assert said in body["errors"][0]["message"]


def test_a_field_without_an_implementation_is_named(sandbox: RunningSandbox) -> None:
    status, body = sandbox.ask('{ launchAgent(id: "x") { id } }')
    assert status == 501
    assert body["errors"][0]["message"] == "the sandbox does not implement Query.launchAgent"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"query": 1}', b'{"query": "{viewer{id}}", "variables": []}']
)
def test_a_body_that_is_no_request_is_a_bad_request(sandbox: RunningSandbox, body: bytes) -> None:
    status, answer = sandbox.call("POST", "/graphql", body)
    assert status == 400
    assert answer["errors"]


def test_an_error_in_a_mutation_undoes_all_of_it(sandbox: RunningSandbox, project: str) -> None:
    status, _ = sandbox.ask(
        'mutation($p: String) { upsertBucket(input: {modelName: $p, tags: [""]}) { inserted } }', p=project
    )
    assert status == 400
    assert sandbox.graphql("query($p: String) { project(name: $p) { id } }", p=project) == {"project": None}


def test_errors_carry_path_and_message(sandbox: RunningSandbox) -> None:
    status, body = sandbox.ask('mutation { gone: deleteRun(input: {id: "bm8="}) { clientMutationId } }')
    assert status == 404
    assert body["errors"][0]["path"] == ["gone"]
    assert "not the id of a Run" in body["errors"][0]["message"]


def test_names_become_snake_case() -> None:
    assert [snake(name) for name in ("historyLineCount", "runID", "clientIDMapping", "md5", "IDs")] == [
        "history_line_count",
        "run_id",
        "client_id_mapping",
        "md5",
        "i_ds",
    ]
