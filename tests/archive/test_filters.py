"""Filters in the manner of MongoDB, evaluated on records."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.archive.filters import Filter
from engine.errors import ConfigError
from engine.records import Namespace, Run

RUN = Run(
    id="abc",
    namespace=Namespace("team", "p"),
    name="first",
    config={"lr": 0.1, "opt": {"name": "adam"}, "a.b": 1, "on": True, "wrapped": {"value": {"x": 2}}},
    summary={"loss": 3, "text": "b"},
    labels={"release": "yes"},
    tags=("good", "small"),
    started_at=1_700_000_000_123,  # 2023-11-14T22:13:20.123Z
    ended_at=1_700_000_060_123,
)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"state": "finished"},
        {"config.lr": 0.1},
        {"config.lr.value": {"$gte": 0.1, "$lt": 1}},
        {"config.opt.name": "adam"},
        {"config.opt.value.name": "adam"},
        {"config.a.b": {"$in": [1, 2]}},
        {"config.on": True},
        {"config.missing": {"$exists": False}},
        {"config.missing": {"$ne": 3}},
        {"config.missing": None},
        {"summary_metrics.loss": {"$gt": 2}},
        {"summary.text": {"$regex": "^b"}},
        {"labels.release": "yes"},
        {"tags": "good"},
        {"tags": {"$nin": ["bad"]}},
        {"name": "abc", "display_name": "first", "displayName": "first"},
        {"createdAt": {"$gt": "2023-11-14T00:00:00"}},
        {"created_at": {"$lt": "2023-11-15"}},
        {"created_at": {"$gt": "2023-11-14T22:13:20Z", "$lt": "2023-11-14T22:13:20.2"}},
        {"created_at": {"$gte": "2023-11-14T23:13:20.123+01:00", "$lt": "2023-11-14T23:13:21+01:00"}},
        {"heartbeat_at": {"$exists": False}},
        {"duration": {"$gte": 59, "$lte": 60}},
        {"summaryMetrics.loss": 3},
        {"tags": ["good", "small"]},
        {"$not": {"state": "failed"}},
        {"$or": [{"state": "failed"}, {"tags": "small"}]},
        {"$nor": [{"state": "failed"}]},
        {"summary.loss": {"$not": {"$gt": 5}}},
    ],
)
def test_it_takes_a_run_that_matches(asked: Any):
    assert Filter.of(json.dumps(asked)).takes(RUN)


@pytest.mark.parametrize(
    "asked",
    [
        {"state": "failed"},
        {"config.on": 1},
        {"config.lr": {"$gt": "0"}},
        {"config.missing": {"$gt": 0}},
        {"$and": [{"state": "finished"}, {"tags": "bad"}]},
        {"summary.loss": {"$not": {"$gt": 2}}},
        {"created_at": {"$lt": "2023-11-14"}},
        {"created_at": {"$lt": "2023-11-14T23:00:00+01:00"}},
        {"duration": {"$gt": 60}},
        {"tags": ["small"]},
        {"$not": {"tags": "good"}},
    ],
)
def test_it_leaves_out_a_run_that_does_not(asked: Any):
    assert not Filter.of(json.dumps(asked)).takes(RUN)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("metrics.loss < 1", "not a JSON object"),
        ("[]", "not a JSON object"),
        ('{"metric.loss": 1}', "'metric.loss'"),
        ('{"config.lr": {"$near": 1}}', "'\\$near'"),
        ('{"$xor": []}', "'\\$xor'"),
        ('{"$or": {}}', "takes a list"),
        ('{"tags": {"$in": "a"}}', "takes a list"),
        ('{"tags": {"$regex": "("}}', "regular expression"),
        ('{"$not": []}', "not an object"),
        ('{"created_at": {"$gt": "yesterday"}}', "no time"),
        ('{"created_at": {"$regex": "^2023"}}', "compared, not matched"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_before_anything_starts(text: str, said: str):
    with pytest.raises(ConfigError, match=said):
        Filter.of(text)
