"""``Api.runs`` filters, orders and pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import wandb

from tests.sandbox.conftest import upsert
from tests.servers import RunningSandbox

PROJECT = "lists"

PAGE = """query($p: String, $f: JSONString, $o: String, $n: Int, $c: String) { project(name: $p) {
    runCount(filters: $f) runs(filters: $f, order: $o, first: $n, after: $c) {
        totalCount edges { cursor node { name } } pageInfo { hasNextPage endCursor } } } }"""


@pytest.fixture(scope="module")
def filled(sandbox: RunningSandbox) -> str:
    """Runs ``r0`` to ``r6``; the odd ones finished, ``r6`` without config and summary."""
    for i in range(6):
        config = {
            "lr": {"value": i / 10},
            "model": {"value": {"name": f"m{i % 2}", "depth": i}},
            "a.b": {"value": i},
        }
        upsert(
            sandbox,
            modelName=PROJECT,
            name=f"r{i}",
            displayName=f"Run {i}",
            groupName="even" if i % 2 == 0 else "odd",
            jobType="train",
            tags=["all"] if i < 3 else ["all", "late"],
            config=json.dumps(config),
            summaryMetrics=json.dumps({"loss": 5 - i, "deep": {"x": i}, "nan": float("nan")}),
        )
        rows = [json.dumps({"_step": 0, "loss": 1, **({"rare": 1} if i == 4 else {})})]
        body: dict[str, Any] = {"files": {"wandb-history.jsonl": {"offset": 0, "content": rows}}}
        if i % 2:
            body |= {"complete": True, "exitcode": 0}
        assert sandbox.call("POST", f"/files/ann/{PROJECT}/r{i}/file_stream", body)[0] == 200
    upsert(sandbox, modelName=PROJECT, name="r6", displayName="last", sweep="s1")
    return PROJECT


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "0123456"),
        ({"state": "finished"}, "135"),
        ({"name": {"$nin": ["r0", "r1", "r2"]}}, "3456"),
        ({"displayName": {"$regex": "^Run [45]$"}}, "45"),
        ({"display_name": "last"}, "6"),
        ({"group": "even"}, "024"),
        ({"jobType": "train", "tags": "late"}, "345"),
        ({"tags": {"$in": ["late", "x"]}}, "345"),
        ({"$or": [{"tags": None}, {"tags": {"$ne": "late"}}]}, "0126"),
        ({"tags": {"$exists": False}}, "6"),
        ({"config.lr.value": {"$gt": 0.25}}, "345"),
        ({"config.lr": 0.1}, "1"),
        ({"config.lr": {"$exists": False}}, "6"),
        ({"config.model.value.name": "m1"}, "135"),
        ({"config.model.name": "m1", "config.model.depth": {"$gte": 3}}, "35"),
        ({"config.a.b": 2}, "2"),
        ({"config.a.b.value": {"$lte": 1}}, "01"),
        ({"summary_metrics.loss": {"$lt": 2}}, "45"),
        ({"summary_metrics.deep.x": {"$in": [1, 2]}}, "12"),
        ({"keys_info.keys.rare": {"$exists": True}}, "4"),
        ({"username": "ann", "sweep": "s1"}, "6"),
        ({"sweep": None}, "012345"),
        ({"createdAt": {"$gte": "2024-01-01"}}, "0123456"),
        ({"created_at": {"$lt": "2024-01-01T00:00:00Z"}}, ""),
        ({"$and": [{"state": "running"}, {"$not": {"group": "even"}}]}, "6"),
    ],
    ids=str,
)
def test_filters(api: wandb.Api, filled: str, filters: dict[str, Any], expected: str) -> None:
    found = api.runs(f"ann/{filled}", filters=filters)
    assert "".join(run.name[-1] if run.id != "r6" else "6" for run in found) == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("+created_at", "0123456"),
        ("-created_at", "6543210"),
        ("-createdAt", "6543210"),
        ("+name", "0123456"),
        ("-state", "6420531"),
        ("+summary_metrics.loss", "6543210"),
        ("-config.lr.value", "5432106"),
        ("+config.model.value.name", "6024135"),
        ("+group,-created_at", "6420531"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_orders_and_pages(sandbox: RunningSandbox, filled: str, order: str, expected: str, size: int) -> None:
    names: list[str] = []
    cursor, more = None, True
    while more:
        page = sandbox.graphql(PAGE, p=filled, o=order, n=size, c=cursor)["project"]["runs"]
        assert page["totalCount"] == 7
        assert len(page["edges"]) <= size
        names += [edge["node"]["name"] for edge in page["edges"]]
        cursor, more = page["edges"][-1]["cursor"], page["pageInfo"]["hasNextPage"]
        assert page["pageInfo"]["endCursor"] == cursor
    assert "".join(name[-1] for name in names) == expected


def test_a_run_that_appears_or_goes_shifts_no_page(sandbox: RunningSandbox, project: str) -> None:
    def page(cursor: str | None) -> Any:
        return sandbox.graphql(PAGE, p=project, o="-created_at", n=2, c=cursor)["project"]["runs"]["edges"]

    ids = [upsert(sandbox, modelName=project, name=f"r{i}")["bucket"]["id"] for i in range(5)]
    first = page(None)
    upsert(sandbox, modelName=project, name="newer")
    sandbox.graphql("mutation($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }", id=ids[3])
    second = page(first[-1]["cursor"])
    assert [edge["node"]["name"] for edge in first + second] == ["r4", "r3", "r2", "r1"]


def test_the_sdk_pages_through_all_runs(new_api: Callable[[], wandb.Api], filled: str) -> None:
    runs = new_api().runs(f"ann/{filled}", per_page=2, order="-created_at")
    assert [run.id for run in runs] == [f"r{i}" for i in (6, 5, 4, 3, 2, 1, 0)]


def test_full_runs_come_with_config_and_summary(new_api: Callable[[], wandb.Api], filled: str) -> None:
    runs = new_api().runs(f"ann/{filled}", filters={"name": "r2"}, lazy=False)
    assert runs[0].config["model"] == {"name": "m0", "depth": 2}
    assert runs[0].summary["loss"] == 3


@pytest.mark.parametrize(
    "arguments",
    [
        {"f": '{"colour": 1}'},
        {"f": '{"config": 1}'},
        {"f": "[]"},
        {"f": '{"name": {"$like": "r"}}'},
        {"f": '{"createdAt": {"$gt": "soon"}}'},
        {"f": "{"},
        {"o": "+colour"},
        {"c": "not a cursor"},
        {"c": "WzFd"},
        {"n": -1},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(
    sandbox: RunningSandbox, filled: str, arguments: dict[str, Any]
) -> None:
    assert sandbox.ask(PAGE, p=filled, **arguments)[0] == 400


def test_a_missing_project_is_null_and_an_error_in_the_sdk(new_api: Callable[[], wandb.Api]) -> None:
    with pytest.raises(ValueError, match="no-such-project"):
        list(new_api().runs("ann/no-such-project"))


def test_a_project_tells_its_tags_fields_and_last_activity(sandbox: RunningSandbox, filled: str) -> None:
    query = """query($p: String) { project(name: $p) { lastActive tags { name } tagCounts { name count }
        fields(pattern: "lr|loss|model") { edges { node { path type } } } } }"""
    found = sandbox.graphql(query, p=filled)["project"]
    assert found["lastActive"].endswith("Z")
    assert found["tags"] == [{"name": "all"}, {"name": "late"}]
    assert found["tagCounts"] == [{"name": "all", "count": 6}, {"name": "late", "count": 3}]
    assert [tuple(edge["node"].values()) for edge in found["fields"]["edges"]] == [
        ("config.lr.value", "number"),
        ("config.model.value", "map"),
        ("summary_metrics.loss", "number"),
    ]


def test_runs_are_listed_over_all_projects_the_newest_first(sandbox: RunningSandbox, project: str) -> None:
    eve = sandbox.keys["eve"]
    for name, place in (("one", project), ("two", f"{project}-b")):
        upsert(sandbox, key=eve, modelName=place, name=name)
    query = """{ viewer { runs(first: 2) { edges { node { name } } } }
        entity(name: "eve") { runs(first: 1) { edges { node { name } } } } }"""
    found = sandbox.graphql(query, key=eve)
    assert [edge["node"]["name"] for edge in found["viewer"]["runs"]["edges"]] == ["two", "one"]
    assert [edge["node"]["name"] for edge in found["entity"]["runs"]["edges"]] == ["two"]
