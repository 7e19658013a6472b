"""What a source gives has its new names, whatever the destination; what would collide is refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
import yaml

from engine import ConfigError, Engine, Options
from engine.errors import Conflict, PreflightError
from engine.protocols import LogSource, Measuring, Unreadable
from engine.records import Artifact, ArtifactEntry, HistoryRows, Namespace, Run
from engine.remapping.reading import parse_mapping
from engine.remapping.source import RemappedSource, remapped
from engine.reports import Sweep, View
from engine.transfer.context import Context
from engine.wandb.source import WandbSource
from tests.memory import MemoryDestination, MemoryRun, MemorySource, Point

pytestmark = pytest.mark.anyio

POINTS: list[Point] = [("loss", 0, 1, 0.5), ("val_loss", 0, 1, 0.6), ("acc", 1, 2, 0.7)]
RUN = Run(
    id="r1",
    namespace=Namespace("", "vision"),
    config={"lr": 1, "depth": 3},
    summary={"loss": 0.5},
    tags=("prod", "production", "x"),
    labels={"prod": "yes"},
    user="ann",
    job_type="User ann",
)
MAPPING = r"""
version: 1
namespaces: {vision: seeing}
users: {ann: anna}
tags: {prod: production}
config: {lr: learning_rate}
metrics: {loss: train/loss, 're:val_(.*)': 'val/\1'}
artifacts: {re:data-.*: data}
aliases: {best: chosen}
references: {s3://old/: s3://new/}
merge: [tags]
"""


def filled(*runs: MemoryRun) -> MemorySource:
    return MemorySource({"vision": list(runs or [MemoryRun(RUN, history=POINTS)])})


async def moved(source: MemorySource, mapping: str, destination: MemoryDestination, **given: Any) -> Any:
    rules = parse_mapping(mapping)
    options = Options(remap=rules.places({}), **given)
    async with Engine(remapped(source, rules), destination, options) as engine:
        return await engine.run()


async def test_a_destination_gets_the_new_names():
    destination = MemoryDestination()
    result = await moved(filled(), MAPPING, destination)
    (held,) = destination.written.values()
    assert held.run.config == {"learning_rate": 1, "depth": 3}
    assert held.run.summary == {"train/loss": 0.5}
    assert held.run.tags == ("production", "x")
    assert held.run.labels == {"production": "yes"}
    assert (held.run.user, held.run.job_type) == ("anna", "User anna")
    assert {key for key, *_ in held.history} == {"train/loss", "val/loss", "acc"}
    assert dict(result.losses) == {
        "config_renamed": 1,
        "metric_renamed": 1,
        "tag_renamed": 2,
        "user_renamed": 1,
    }


async def test_other_rules_bring_a_run_again_and_the_same_rules_do_not(tmp_path):
    destination = MemoryDestination()
    first = await moved(filled(), MAPPING, destination, state_dir=tmp_path)
    again = await moved(filled(), MAPPING, destination, state_dir=tmp_path)
    other = await moved(filled(), MAPPING.replace("rate", "speed"), destination, state_dir=tmp_path)
    assert [(each.runs_done, each.runs_skipped) for each in (first, again, other)] == [(1, 0), (0, 1), (1, 0)]


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("config: {lr: depth}", "'depth' and 'lr' (config)"),
        ("metrics: {re:.*: m}", "both become 'm'"),
        ("tags: {prod: production}", "'prod' and 'production' (tags)"),
    ],
)
async def test_keys_and_tags_of_a_run_that_would_become_one_are_found_before_anything_is_moved(
    section: str, told: str
):
    destination = MemoryDestination()
    run = replace(RUN, summary={"loss": 0.5, "acc": 0.7})
    with pytest.raises(ConfigError) as caught:
        await moved(filled(MemoryRun(run)), f"version: 1\n{section}", destination)
    assert told in caught.value.message
    assert caught.value.subject == "run vision/r1"
    assert not destination.written


async def test_what_collides_is_told_once_with_the_places_where_it_does():
    runs = [MemoryRun(replace(RUN, id=f"r{number}")) for number in range(7)]
    with pytest.raises(PreflightError) as caught:
        await moved(filled(*runs), "version: 1\nconfig: {lr: depth}\ntags: {x: prod}", MemoryDestination())
    told = [(error.message, error.subject) for error in caught.value.errors]
    places = ", ".join(f"run vision/r{number}" for number in range(5)) + " and 2 more"
    assert told == [
        ("'depth' and 'lr' (config) would both become 'depth'", places),
        ("'prod' and 'x' (tags) would both become 'prod'", places),
    ]


async def test_a_run_that_came_since_and_in_which_two_keys_would_become_one_is_not_moved(context: Context):
    source = RemappedSource(filled(), parse_mapping("version: 1\nconfig: {lr: depth}"))
    async with source.open(context):
        (run,) = [run async for run in source.runs(*await listed(source))]
    assert isinstance(run, Unreadable)
    assert isinstance(run.error, Conflict)


async def test_keys_that_only_a_history_has_are_looked_at_too(context: Context):
    source = RemappedSource(filled(), parse_mapping("version: 1\nmetrics: {acc: loss}"))
    async with source.open(context):
        (run,) = [run async for run in source.runs(*await listed(source))]
        assert isinstance(run, Run)
        with pytest.raises(Conflict, match=r"'acc' and 'loss'|'loss' and 'acc'"):
            assert [chunk async for chunk in source.history(run)]


async def listed(source: Any) -> Any:
    from engine.records import Selection

    (project,) = [project async for project in source.projects(Selection())]
    return project, Selection()


async def test_projects_that_would_become_one_are_found_before_anything_is_moved():
    source = MemorySource({"a": [], "b": [], "c": [], "d": [], "e": []})
    destination = MemoryDestination()
    mapping = "version: 1\nnamespaces: {a: x, 're:[bc]': y, 're:d|e': z}"
    with pytest.raises(PreflightError, match=r"(?s)b, c → y .*d, e → z ") as caught:
        await moved(source, mapping, destination)
    assert "merge: [namespaces]" in str(caught.value)
    await moved(source, f"{mapping}\nmerge: [namespaces]", destination)


class Artifacts(MemorySource):
    async def artifacts(self, run: Run) -> AsyncGenerator[Artifact]:
        for name in ("data-1", "model", *(["data-2"] if run.id == "r2" else [])):
            yield Artifact(
                namespace=run.namespace, name=name, type="d", run_id=run.id, aliases=("best", "latest")
            )

    async def entries(self, artifact: Artifact) -> AsyncGenerator[ArtifactEntry]:
        yield ArtifactEntry(path="a", ref="s3://old/a", digest="s3://old/a")
        yield ArtifactEntry(path="b", ref="s3://old/b", digest="etag")
        yield ArtifactEntry(path="c", ref="gs://old/c", digest="gs://old/c")


async def test_artifacts_aliases_and_references_get_their_names(context: Context):
    source = RemappedSource(Artifacts({}), parse_mapping(MAPPING))
    async with source.open(context):
        first, second = [artifact async for artifact in source.artifacts(RUN)]
        assert [first.name, second.name] == ["data", "model"]
        assert first.aliases == ("chosen", "latest")
        found = [(entry.ref, entry.digest) async for entry in source.entries(first)]
    assert found == [
        ("s3://new/a", "s3://new/a"),
        ("s3://new/b", "etag"),
        ("gs://old/c", "gs://old/c"),
    ]
    (told, *_) = context.losses.of_run("run r1")
    assert told.kind == "alias_renamed"


async def test_artifacts_that_would_become_one_are_refused(context: Context):
    source = RemappedSource(Artifacts({}), parse_mapping(MAPPING))
    async with source.open(context):
        with pytest.raises(Conflict, match="'data-1' and 'data-2' would both become 'data'"):
            assert [artifact async for artifact in source.artifacts(replace(RUN, id="r2"))]


async def test_rows_get_new_keys(context: Context):
    class Rows(MemorySource):
        async def history(self, run: Run) -> AsyncGenerator[HistoryRows]:
            assert run == RUN, "the source is asked with its own record"
            yield HistoryRows(first=0, rows=[{"_step": 0, "loss": 1.0}, {"_step": 1, "val_a": 2.0}])

    source = RemappedSource(Rows({"vision": [MemoryRun(RUN)]}), parse_mapping(MAPPING))
    async with source.open(context):
        (run,) = [run async for run in source.runs(*await listed(source))]
        assert not isinstance(run, Unreadable)
        run = replace(run, locator=replace(run.locator, run=RUN))  # type: ignore[type-var]
        (chunk,) = [chunk async for chunk in source.history(run)]
    assert chunk == HistoryRows(first=0, rows=[{"_step": 0, "train/loss": 1.0}, {"_step": 1, "val/a": 2.0}])


def test_what_the_source_can_do_besides_the_wrapper_can():
    rules = parse_mapping(MAPPING)
    wandb = RemappedSource(WandbSource("https://localhost/a/b"), rules)
    assert isinstance(wandb, LogSource)
    assert isinstance(wandb, Measuring)
    plain = RemappedSource(MemorySource({}), rules)
    assert not isinstance(plain, LogSource)
    assert not isinstance(plain, Measuring)


def test_definitions_of_metrics_follow_their_metrics():
    own = {"m": [{"1": "loss", "5": 2, "6": [1]}, {"1": "step", "4": "loss"}, {"2": "val_*"}], "t": {}}
    run = replace(RUN, extra={"wandb": {"_wandb": own, "descriptions": {"lr": "rate"}}})
    source = WandbSource("https://localhost/a/b")
    changed = source.renamed(run, {"lr": "learning_rate"}, parse_mapping(MAPPING)["metrics"]).extra["wandb"]
    assert changed["descriptions"] == {"learning_rate": "rate"}
    names = [(each.get("1"), each.get("2"), each.get("4")) for each in changed["_wandb"]["m"]]
    assert names == [("train/loss", None, None), ("step", None, "train/loss"), (None, "val/*", None)]


def test_custom_charts_and_labels_of_masks_follow_their_metrics():
    query = {"queryFields": [{"name": "summaryTable", "args": [{"name": "tableKey", "value": "val_table"}]}]}
    chart = {"panel_config": {"userQuery": query, "fieldSettings": {"x": "loss"}}}
    labels = {"loss_wandb_delimeter_truth": {"key": "loss_wandb_delimeter_truth", "value": {"0": "loss"}}}
    own = {"visualize": {"val_chart": chart}, "mask/class_labels": labels}
    run = replace(RUN, extra={"wandb": {"_wandb": own}})
    source = WandbSource("https://localhost/a/b")
    changed = source.renamed(run, {}, parse_mapping(MAPPING)["metrics"]).extra["wandb"]["_wandb"]
    (told,) = changed["visualize"]["val/chart"]["panel_config"]["userQuery"]["queryFields"]
    assert told["args"] == [{"name": "tableKey", "value": "val/table"}]
    # The columns of a table are no metrics.
    assert changed["visualize"]["val/chart"]["panel_config"]["fieldSettings"] == {"x": "loss"}
    key = "train/loss_wandb_delimeter_truth"
    assert changed["mask/class_labels"] == {key: {"key": key, "value": {"0": "loss"}}}


def test_sweeps_search_for_the_new_names():
    config = "method: grid\nmetric: {name: loss}\nparameters: {lr: {values: [1]}, depth: {value: 3}}\n"
    sweep = Sweep(namespace=RUN.namespace, id="s", config=config)
    source = WandbSource("https://localhost/a/b")
    told = yaml.safe_load(source.renamed_sweep(sweep, parse_mapping(MAPPING)).config)
    assert told["metric"] == {"name": "train/loss"}
    assert told["parameters"] == {"learning_rate": {"values": [1]}, "depth": {"value": 3}}
    assert source.renamed_sweep(sweep, parse_mapping("version: 1\ntags: {a: b}")) == sweep
    with pytest.raises(Conflict, match="two of its parameters"):
        source.renamed_sweep(sweep, parse_mapping("version: 1\nconfig: {lr: depth}"))


def test_reports_show_the_metrics_by_their_new_names():
    spec = {
        "panels": [
            {"viewType": "Run History Line Plot", "config": {"metrics": ["loss", "acc"], "x": 1}},
            {"config": {"xAxis": "config:lr.value", "yAxis": "summary:loss", "groupBy": "lr.value"}},
            {"config": {"columns": [{"accessor": "summary:loss"}], "legendFields": ["run:x", "config:lr"]}},
            {"config": {"targetKey": "loss"}},
            {"userQuery": {"queryFields": [{"args": [{"name": "keys", "value": ["loss"]}]}]},
             "fieldSettings": {"y": "loss"}},
        ],
        "filters": {"filters": [
            {"key": {"section": "config", "name": "lr"}, "value": 1},
            {"key": {"section": "summary", "name": "val_a"}, "value": "loss"},
            {"key": {"section": "run", "name": "tags"}, "value": ["prod", "x"]},
            {"key": {"section": "tags", "name": "Tags"}, "value": ["prod"]},
        ]},
        "sort": {"keys": [{"key": {"section": "config", "name": "lr.value"}}]},
        "runFeed": {"columnVisible": {"summary:loss": 1, "run:loss": 1}, "columnOrder": ["config:lr.value"]},
        "blocks": [{"type": "paragraph", "children": [{"text": "loss"}]}],
        "version": 5,
    }  # fmt: skip
    view = View(namespace=RUN.namespace, id="v", kind="runs", name="n", spec=spec)
    told = WandbSource("https://localhost/a/b").renamed_view(view, parse_mapping(MAPPING)).spec
    assert told == {
        "panels": [
            {"viewType": "Run History Line Plot", "config": {"metrics": ["train/loss", "acc"], "x": 1}},
            {"config": {"xAxis": "config:learning_rate.value", "yAxis": "summary:train/loss",
                        "groupBy": "learning_rate.value"}},
            {"config": {"columns": [{"accessor": "summary:train/loss"}],
                        "legendFields": ["run:x", "config:learning_rate"]}},
            {"config": {"targetKey": "train/loss"}},
            {"userQuery": {"queryFields": [{"args": [{"name": "keys", "value": ["train/loss"]}]}]},
             "fieldSettings": {"y": "train/loss"}},
        ],
        "filters": {"filters": [
            {"key": {"section": "config", "name": "learning_rate"}, "value": 1},
            {"key": {"section": "summary", "name": "val/a"}, "value": "loss"},
            {"key": {"section": "run", "name": "tags"}, "value": ["production", "x"]},
            {"key": {"section": "tags", "name": "Tags"}, "value": ["production"]},
        ]},
        "sort": {"keys": [{"key": {"section": "config", "name": "learning_rate.value"}}]},
        "runFeed": {
            "columnVisible": {"summary:train/loss": 1, "run:loss": 1},
            "columnOrder": ["config:learning_rate.value"],
        },
        "blocks": [{"type": "paragraph", "children": [{"text": "loss"}]}],
        "version": 5,
    }  # fmt: skip


@pytest.fixture
def context(tmp_path) -> Context:
    return Context(spool=tmp_path)
