"""How MLflow's fields become those of the neutral model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.mlflow.mapping import parsed, project_of, run_of
from engine.mlflow.store import LatestMetric, RawExperiment, RawModel, RawRun
from engine.records import Namespace, Run, RunState

RAW = RawRun(
    id="0123456789abcdef0123456789abcdef",
    experiment_id="7",
    name="first",
    status="FINISHED",
    start_time=1_700_000_000_123,
    end_time=1_700_000_060_456,
    user_id="ada",
    artifact_uri="s3://bucket/7",
    params={"lr": "0.1"},
    tags={
        "release": "yes",
        "mlflow.note.content": "*note*",
        "mlflow.parentRunId": "p",
        "mlflow.user": "other",
        "mlflow.source.name": "train.py",
        "mlflow.source.git.commit": "c0ffee",
        "mlflow.source.git.branch": "main",
        "mlflow.source.git.repoURL": "git@x:y.git",
        "mlflow.project.entryPoint": "main",
    },
    latest={"loss": LatestMetric(0.5, 1_700_000_050_000, 9)},
    model_inputs=(RawModel(model_id="m-1"),),
    model_outputs=(RawModel(model_id="m-2", step=3),),
)


def mapped(losses: list[tuple[str, str, str]] | None = None, *, parse: bool = False, **changes: Any) -> Run:
    found = losses if losses is not None else []
    run = run_of(
        replace(RAW, **changes),
        Namespace("", "e"),
        "group",
        lambda *loss: found.append(loss),
        parse_params=parse,
    )
    assert losses is not None or not found
    return run


def test_every_field_has_its_place():
    run = mapped()
    assert (run.id, run.name, run.group) == (RAW.id, "first", "group")
    assert (run.state, run.source_state) == (RunState.FINISHED, "FINISHED")
    assert (run.started_at, run.ended_at) == (1_700_000_000_123, 1_700_000_060_456)
    assert (run.user, run.job_type) == ("ada", "User ada")
    assert run.config == {"lr": "0.1"}
    assert run.summary == {"loss": 0.5}
    assert run.labels == {"release": "yes"}
    assert run.notes == "*note*"
    assert run.parent_id == "p"
    assert (run.code.program, run.code.commit, run.code.branch) == ("train.py", "c0ffee", "main")
    assert (run.code.remote, run.code.entry_point) == ("git@x:y.git", "main")


def test_what_has_no_place_is_kept_verbatim():
    extra = mapped().extra
    assert extra["mlflow_tags"] == {key: value for key, value in RAW.tags.items() if key != "release"}
    assert extra["artifact_uri"] == "s3://bucket/7"
    assert extra["model_inputs"] == [{"model_id": "m-1"}]
    assert extra["model_outputs"] == [{"model_id": "m-2", "step": 3}]
    assert extra["lifecycle_stage"] == "active"
    assert "ended_before_started" not in extra


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("RUNNING", RunState.RUNNING),
        ("SCHEDULED", RunState.PENDING),
        ("FAILED", RunState.FAILED),
        ("KILLED", RunState.KILLED),
        ("EXPLODED", RunState.FAILED),
        ("", RunState.FAILED),
    ],
)
def test_a_status_becomes_the_nearest_state(status: str, state: RunState):
    run = mapped(status=status)
    assert (run.state, run.source_state) == (state, status or None)


def test_times_that_are_missing_stay_missing_and_inverted_ones_are_flagged():
    run = mapped(start_time=None, end_time=None)
    assert (run.started_at, run.ended_at) == (None, None)
    inverted = mapped(end_time=5)
    assert inverted.ended_at == 5
    assert inverted.extra["ended_before_started"] is True


def test_the_user_and_the_name_come_from_tags_where_the_run_lacks_them():
    run = mapped(name=None, user_id="", tags={"mlflow.runName": "tagged", "mlflow.user": "bob"})
    assert (run.name, run.user) == ("tagged", "bob")


def test_text_that_is_not_valid_is_replaced_and_declared():
    losses: list[tuple[str, str, str]] = []
    run = mapped(
        losses, name="a\0b", tags={"mlflow.note.content": "x\ud800y\0", "k\udc00": "v\udfff"}, params={}
    )
    assert (run.name, run.notes) == ("a\ufffdb", "x\ufffdy\ufffd")
    assert run.labels == {"k\ufffd": "v\ufffd"}
    assert {kind for kind, *_ in losses} == {"nul_replaced", "text_not_utf8"}
    assert {subject for _, subject, _ in losses} == {f"run {RAW.id}"}


def test_keys_that_would_fall_together_are_told_apart():
    run = mapped([], params=dict(zip(("k\ud800", "k\udc00", "k\ufffd"), "123", strict=True)))
    assert sorted(run.config.values()) == ["1", "2", "3"]
    assert run.config["k\ufffd"] == "3"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("-3", -3), ("0.5", 0.5), ("1e-05", 1e-05),
        ("True", True), ("False", False), ("None", None),
        ("007", "007"), ("1e-5", "1e-5"), ("1.50", "1.50"), ("nan", "nan"), ("inf", "inf"), ("true", "true"),
        ("", ""), (" 1", " 1"), ("1_000", "1_000"), ("9007199254740993", "9007199254740993"), ("٣", "٣"),
        ("-0", "-0"), ("+1", "+1"), ("[1]", "[1]"),
    ],
)  # fmt: skip
def test_a_param_is_parsed_only_where_its_text_comes_back(text: str, value: object):
    assert (parsed(text), type(parsed(text))) == (value, type(value))


@given(st.one_of(st.text(), st.integers().map(str), st.floats().map(str), st.floats().map(repr)))
def test_parsing_can_always_be_undone(text: str):
    assert str(parsed(text)) == text


def test_params_are_text_unless_asked_otherwise():
    assert mapped(params={"a": "1"}).config == {"a": "1"}
    assert mapped(params={"a": "1"}, parse=True).config == {"a": 1}


def test_the_default_workspace_is_not_named():
    experiment = RawExperiment(id="7", name="vision/x", workspace="default", lifecycle_stage="deleted")
    project = project_of(experiment, lambda *_: None)
    assert (project.namespace, project.id, project.deleted) == (Namespace("", "vision/x"), "7", True)
    other = project_of(replace(experiment, workspace="team"), lambda *_: None)
    assert other.namespace == Namespace("team", "vision/x")
