"""Filters speak Mongo's query language."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.sandbox.graph.filters import MISSING, Filter, dotted
from engine.sandbox.refusals import Refusal

DOCUMENT: dict[str, Any] = {
    "state": "finished",
    "n": 3,
    "flag": True,
    "null": None,
    "tags": ["a", "b"],
    "text": "Hello",
    "made": 1_700_000_000_000,
    "nan": float("nan"),
}


def matches(query: Any) -> bool:
    wanted = Filter.parse(json.dumps(query), moments=frozenset({"made"}))
    return wanted.matches(lambda path: DOCUMENT.get(path, MISSING))


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"state": "finished"},
        {"state": "finished", "n": 3},
        {"n": 3.0},
        {"n": {"$eq": 3}},
        {"n": {"$gt": 2, "$lt": 4}},
        {"n": {"$gte": 3, "$lte": 3}},
        {"n": {"$ne": 4}},
        {"n": {"$in": [1, 3]}},
        {"n": {"$nin": [1, 2]}},
        {"flag": True},
        {"null": None},
        {"absent": None},
        {"absent": {"$exists": False}},
        {"absent": {"$nin": [1]}},
        {"absent": {"$ne": 1}},
        {"null": {"$exists": True}},
        {"tags": "a"},
        {"tags": {"$in": ["b", "z"]}},
        {"tags": {"$ne": "z"}},
        {"tags": {"$nin": ["z"]}},
        {"tags": ["a", "b"]},
        {"text": {"$regex": "^H.*o$"}},
        {"text": {"$regex": "^h", "$options": "i"}},
        {"tags": {"$regex": "^b$"}},
        {"text": {"$not": {"$regex": "x"}}},
        {"text": {"$gt": "A"}},
        {"$or": [{"n": 9}, {"state": "finished"}]},
        {"$and": [{"n": 3}, {"$or": [{"flag": True}]}]},
        {"$nor": [{"n": 9}]},
        {"$not": {"n": 9}},
        {"made": {"$gte": "2023-11-14", "$lt": "2023-11-15T00:00:00Z"}},
        {"made": {"$gt": "2023-11-14T23:00:00+01:00"}},
    ],
    ids=json.dumps,
)
def test_matches(query: Any) -> None:
    assert matches(query)


@pytest.mark.parametrize(
    "query",
    [
        {"state": "running"},
        {"state": "finished", "n": 4},
        {"n": "3"},
        {"flag": 1},
        {"n": {"$gt": 3}},
        {"n": {"$gt": "1"}},
        {"nan": {"$gt": 0}},
        {"nan": {"$lte": 0}},
        {"flag": {"$gt": 0}},
        {"absent": {"$exists": True}},
        {"absent": {"$gt": 0}},
        {"tags": "z"},
        {"tags": {"$nin": ["a"]}},
        {"tags": {"$ne": "a"}},
        {"text": {"$regex": "^h"}},
        {"n": {"$regex": "3"}},
        {"$or": []},
        {"$nor": [{"n": 3}]},
        {"made": {"$lt": "2023-11-14"}},
    ],
    ids=json.dumps,
)
def test_does_not_match(query: Any) -> None:
    assert not matches(query)


@pytest.mark.parametrize(
    "query",
    [
        [],
        {"$where": "1"},
        {"n": {"$near": 1}},
        {"n": {"$in": 1}},
        {"$or": {"n": 1}},
        {"$and": [1]},
        {"text": {"$regex": "("}},
        {"text": {"$regex": 1}},
        {"made": {"$gt": "yesterday"}},
        {"made": 5},
    ],
    ids=json.dumps,
)
def test_is_refused(query: Any) -> None:
    with pytest.raises(Refusal):
        matches(query)


def test_no_filter_matches_everything() -> None:
    for text in (None, "", "null", "{}"):
        assert Filter.parse(text).matches(lambda _path: MISSING)


def test_a_filter_tells_the_paths_that_it_needs() -> None:
    assert Filter.parse('{"$or": [{"a": 1}, {"$not": {"b.c": 2}}]}').paths == {"a", "b.c"}


def test_dotted_paths_find_nested_and_literal_keys() -> None:
    document = {"a": {"b": {"c": 1}}, "a.b": {"d": 2}, "x.y.z": 3, "l": [1]}
    assert dotted(document, "a.b.c") == 1
    assert dotted(document, "a.b.d") == 2
    assert dotted(document, "x.y.z") == 3
    assert dotted(document, "a.b") == {"d": 2}
    assert dotted(document, "l.0") is MISSING
    assert dotted(document, "nope") is MISSING
