"""Other names for everything, and what everything has to be under them.

The names that patterns give are spelled out here once more, and nothing of the engine is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.e2e.everything.sdk_world import ENTITY, LINEAGE, MEDIA, OTHER, REPORTED, TRAINED
from tests.e2e.sdk_artifacts import SeenCollection, SeenVersion
from tests.sandbox.artifact_writer import canonical_digest

Json = Any

HOME, SECOND = "mapped", "mapped-too"
"""Entities of the destination."""

PLACES = {
    LINEAGE: (SECOND, "provenance"),
    TRAINED: (HOME, "learned"),
    OTHER: (HOME, "my-other"),
    MEDIA: (HOME, "pictures"),
    REPORTED: (HOME, "my-vision"),
}
REMAPS = [f"{ENTITY}/{LINEAGE}={SECOND}/provenance", f"{TRAINED}={HOME}/learned"]
"""For ``--remap``; the file has the others."""

MAPPING = rf"""
version: 1
namespaces:
  {ENTITY}/{MEDIA}: {HOME}/pictures
  re:{ENTITY}/(other|vision): {HOME}/my-\1
users: {{{ENTITY}: bea}}
tags: {{baseline: base, curated: checked, re:t(\d): tag-\1}}
config: {{lr: learning_rate, kinds: sorts, re:(opt)imizer: \1}}
metrics:
  loss: train/loss
  epoch: round
  re:val/(.*): eval/\1
  re:scores/(.*): f/\1
  re:(image|table|plotly|cells|joined): shown/\1
  re:(curve|confusion|roc)(_table)?: charts/\1\2
  nested: inner
  dotted.key: dotted.name
  value: amount
artifacts:
  ds: numbers
  weights: params
  pictures: photos
  picked: favourites
  re:(tables|follower|joins): my-\1
  re:run-media-(table|cells): run-media-shown-\1
aliases: {{best: champion, first: zero, curated: checked, chosen: elected}}
references: {{s3://bucket/: s3://elsewhere/deep/, re:hdfs://(\w+)/: hdfs://other-\1/}}
"""

TAGS = {"baseline": "base", "curated": "checked", **{f"t{n}": f"tag-{n}" for n in range(6)}}
CONFIG = {"lr": "learning_rate", "kinds": "sorts", "optimizer": "opt"}
METRICS = {
    "loss": "train/loss",
    "epoch": "round",
    "val/accuracy": "eval/accuracy",
    "val/*": "eval/*",
    "scores/f1": "f/f1",
    "scores/*": "f/*",
    **{name: f"shown/{name}" for name in ("image", "table", "plotly", "cells", "joined")},
    **{
        f"{name}{end}": f"charts/{name}{end}"
        for name in ("curve", "confusion", "roc")
        for end in ("", "_table")
    },
    "nested": "inner",
    "dotted.key": "dotted.name",
    "value": "amount",
}
ARTIFACTS = {
    "ds": "numbers",
    "weights": "params",
    "pictures": "photos",
    "picked": "favourites",
    "tables": "my-tables",
    "follower": "my-follower",
    "joins": "my-joins",
    "run-media-table": "run-media-shown-table",
    "run-media-cells": "run-media-shown-cells",
}
ALIASES = {"best": "champion", "first": "zero", "curated": "checked", "chosen": "elected"}

_COLUMNS = (
    METRICS
    | {f"summary:{old}": f"summary:{new}" for old, new in METRICS.items()}
    | CONFIG
    | {f"{old}.value": f"{new}.value" for old, new in CONFIG.items()}
    | {f"config:{old}.value": f"config:{new}.value" for old, new in CONFIG.items()}
    | TAGS
)
"""All that a report may say for a key or a tag; its texts say other things."""


def keys(told: Mapping[str, Json], names: Mapping[str, str]) -> dict[str, Json]:
    return {names.get(key, key): value for key, value in told.items()}


def each(told: Any, names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted(names.get(one, one) for one in told))


def version(name: str) -> str:
    """A version, or a collection."""
    collection, colon, rest = name.partition(":")
    return f"{ARTIFACTS.get(collection, collection)}{colon}{rest}"


def uri(told: str) -> str:
    told = re.sub("^s3://bucket/", "s3://elsewhere/deep/", told)
    return re.sub("^hdfs://bucket/", "hdfs://other-bucket/", told)


def _referred(text: str) -> str:
    """A text with references to versions as ``Place`` tells them."""
    return re.sub(r"(?<=artifact://)[\w.-]+", lambda found: version(found[0]), text)


def run(told: Mapping[str, Json]) -> dict[str, Json]:
    """A run as ``Place.runs`` tells it."""
    told = json.loads(_referred(json.dumps(told)))
    return {
        **told,
        "tags": [TAGS.get(tag, tag) for tag in told["tags"]],
        "config": keys(told["config"], CONFIG),
        "summary": keys(told["summary"], METRICS),
        "rows": [keys(row, METRICS) for row in told["rows"]],
        "artifacts": sorted(map(_logged, told["artifacts"]), key=lambda artifact: str(artifact["name"])),
        "own": _own(told["own"]),
    }


def _logged(told: Mapping[str, Json]) -> dict[str, Json]:
    return {
        **told,
        "name": version(told["name"]),
        "aliases": list(each(told["aliases"], ALIASES)),
        "files": {path: uri(content) for path, content in told["files"].items()},
        # As that of the version, which is compared with its entries.
        "digest": "",
    }


def without_digests(told: Mapping[str, Json]) -> dict[str, Json]:
    """A run without the digests of its artifacts, which follow from their references."""
    return {**told, "artifacts": [{**artifact, "digest": ""} for artifact in told["artifacts"]]}


def _own(own: Mapping[str, Json]) -> dict[str, Json]:
    found = dict(own)
    escaped = {"dotted\\.key": "dotted\\.name"} | METRICS
    if "m" in own:
        found["m"] = [
            {field: escaped.get(value, value) if field in "124" else value for field, value in one.items()}
            for one in own["m"]
        ]
    if "visualize" in own:
        charts = {key: _with_tables(chart) for key, chart in own["visualize"].items()}
        found["visualize"] = keys(charts, METRICS)
    for kind in ("mask/class_labels", "bounding_box/class_labels"):
        if kind in own:
            found[kind] = json.loads(
                re.sub(r'(?<=")image(?=_wandb_delimeter_)', METRICS["image"], json.dumps(own[kind]))
            )
    return found


def _with_tables(chart: Json) -> Json:
    """A custom chart, which asks for a table by its metric."""
    return json.loads(
        re.sub(r'(?<=")\w+_table(?=")', lambda found: METRICS.get(found[0], found[0]), json.dumps(chart))
    )


def collections(told: Mapping[str, SeenCollection]) -> dict[str, SeenCollection]:
    return {
        ARTIFACTS.get(name, name): replace(
            collection,
            tags=each(collection.tags, TAGS),
            versions=tuple(map(_version, collection.versions)),
        )
        for name, collection in told.items()
    }


def _version(told: SeenVersion) -> SeenVersion:
    entries = {
        path: (uri(digest), None if ref is None else _reference(ref), size)
        for path, (digest, ref, size) in told.entries.items()
    }
    return replace(
        told,
        aliases=each(told.aliases, ALIASES),
        tags=each(told.tags, TAGS),
        entries=entries,
        digest=canonical_digest({path: digest for path, (digest, _, _) in entries.items()}),
    )


def _reference(ref: str) -> str:
    """A URI, or ``project/version/path`` as ``seen`` tells references to other versions."""
    project, _, rest = ref.partition("/")
    if "://" in ref or project not in PLACES:
        return uri(ref)
    name, _, path = rest.partition("/")
    return f"{PLACES[project][1]}/{version(name)}/{path}"


def links(told: Mapping[str, Json]) -> dict[str, Json]:
    return {
        ARTIFACTS.get(name, name): [
            (number, version(source), digest, sorted(ALIASES.get(alias, alias) for alias in aliases))
            for number, source, digest, aliases in linked
        ]
        for name, linked in told.items()
    }


def reports(told: Mapping[str, Json]) -> dict[str, Json]:
    text = _referred(json.dumps(told["reports"]))
    text = re.sub(r"(?<=artifact of the project: )[\w.-]+", lambda found: version(found[0]), text)
    return {
        "reports": spec(json.loads(text)),
        "runs": told["runs"],
        "sweeps": {runs: _sweep(config) for runs, config in told["sweeps"].items()},
    }


def spec(value: Json) -> Json:
    """Any part of a report or of a view, by what its strings and its keys are."""
    if isinstance(value, str):
        return _COLUMNS.get(value, value)
    if isinstance(value, list):
        return [spec(item) for item in value]
    if isinstance(value, dict):
        if "tableKey" in json.dumps(value.get("userQuery")):
            # The columns of a table have their own names.
            return {key: item if key == "fieldSettings" else spec(item) for key, item in value.items()}
        return {_COLUMNS.get(key, key) if ":" in key else key: spec(item) for key, item in value.items()}
    return value


def _sweep(config: Mapping[str, Json]) -> dict[str, Json]:
    metric = config["metric"] | {"name": METRICS[config["metric"]["name"]]}
    return {**config, "parameters": keys(config["parameters"], CONFIG), "metric": metric}
