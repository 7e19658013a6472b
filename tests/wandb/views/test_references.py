"""What a report points at is told anew, where it is known; the rest stays, and is counted."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from engine.records import Namespace
from engine.wandb.views.references import References

OLD, NEW = Namespace("ann", "vision"), Namespace("bea", "seeing it")
ELSE, ALSO = Namespace("ann", "text"), Namespace("bea", "words")
BY_ID, THERE = "wandb-artifact://6b5e6b5e6b5e6b5e6b5e", "wandb-artifact://7b5e7b5e7b5e7b5e7b5e7b5e"
BY_CLIENT, SPOKEN = (f"wandb-client-artifact://{client_id * 32}" for client_id in ("z0k9", "0123"))
A, B = "https://api.wandb.example", "http://b.example:8080"


def references(**more: Any) -> References:
    return References(
        places={OLD: NEW, ELSE: ALSO},
        source_url=A,
        url=B,
        run_id=lambda place, run: f"{run}-2" if place == OLD else run,
        projects={NEW: "new-id", ALSO: "also-id"},
        sweeps={(OLD, "s1"): "t1"},
        views={"VmlldzoxMjM=": "VmlldzoxMjM0"},
        versions={BY_ID: THERE, BY_CLIENT: SPOKEN},
        **more,
    )


def opaque(run: str, place: Namespace) -> str:
    return base64.b64encode(f"Run:v1:{run}:{place.project}:{place.entity}".encode()).decode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"project": {"name": "vision", "entityName": "ann", "id": "x"}},
         {"project": {"name": "seeing it", "entityName": "bea", "id": "new-id"}}),
        ({"project": {"name": "vision", "entityName": "ann"}},
         {"project": {"name": "seeing it", "entityName": "bea"}}),
        ({"entityName": "ann", "projectName": "text"}, {"entityName": "bea", "projectName": "words"}),
        ({"inputs": {"entityName": {"nodeType": "const", "type": "string", "val": "ann"},
                     "projectName": {"nodeType": "const", "type": "string", "val": "vision"}}},
         {"inputs": {"entityName": {"nodeType": "const", "type": "string", "val": "bea"},
                     "projectName": {"nodeType": "const", "type": "string", "val": "seeing it"}}}),
        ({"selections": {"root": 0, "tree": ["r1"]}}, {"selections": {"root": 0, "tree": ["r1-2"]}}),
        ({"project": {"name": "text", "entityName": "ann"}, "pinnedRunIds": ["r1"], "baselineRunId": "r1"},
         {"project": {"name": "words", "entityName": "bea"}, "pinnedRunIds": ["r1"], "baselineRunId": "r1"}),
        ({"customRunColors": {"r1": "red"}}, {"customRunColors": {"r1-2": "red"}}),
        ({"filters": {"op": "OR", "filters": [{"op": "AND", "filters": [
            {"key": {"section": "run", "name": "sweep"}, "op": "=", "value": "s1"},
            {"key": {"section": "run", "name": "name"}, "op": "IN", "value": ["r1", "r2"]},
            {"key": {"section": "config", "name": "name"}, "op": "=", "value": "r1"}]}]}},
         {"filters": {"op": "OR", "filters": [{"op": "AND", "filters": [
            {"key": {"section": "run", "name": "sweep"}, "op": "=", "value": "t1"},
            {"key": {"section": "run", "name": "name"}, "op": "IN", "value": ["r1-2", "r2-2"]},
            {"key": {"section": "config", "name": "name"}, "op": "=", "value": "r1"}]}]}}),
        ({"run": opaque("r1", OLD)}, {"run": opaque("r1-2", NEW)}),
        ("https://wandb.example/ann/vision/runs/r1/overview?x=1",
         f"{B}/bea/seeing%20it/runs/r1-2/overview?x=1"),
        (f"![a]({A}/files/ann/vision/r1/media/a.png) and {A}/ann/text.",
         f"![a]({B}/files/bea/seeing%20it/r1-2/media/a.png) and {B}/bea/words."),
        ("https://wandb.example/ann/vision/reports/A-b--VmlldzoxMjM",
         f"{B}/bea/seeing%20it/reports/A-b--VmlldzoxMjM0"),
        ({"type": "report", "id": "VmlldzoxMjM="}, {"type": "report", "id": "VmlldzoxMjM0"}),
        ("wandb-artifact://ann/vision/weights:v3/a.bin", "wandb-artifact://bea/seeing it/weights:v3/a.bin"),
        (f"![a]({BY_ID}/a.png) and {BY_ID}/b.png", f"![a]({THERE}/a.png) and {THERE}/b.png"),
        (f"![a]({BY_CLIENT}:latest/a.png)", f"![a]({SPOKEN}:latest/a.png)"),
        ("https://elsewhere.example/ann/vision", "https://elsewhere.example/ann/vision"),
        ({"type": "unheard-of", "name": "vision", "n": [1, None, 2.5]},
         {"type": "unheard-of", "name": "vision", "n": [1, None, 2.5]}),
    ],
)  # fmt: skip
def test_a_known_reference_points_to_what_is_there(old: Any, new: Any):
    rewritten = references().of({"it": old}, OLD)
    assert rewritten.spec == {"it": new}
    assert not rewritten.unresolved
    assert not rewritten.links


@pytest.mark.parametrize(
    ("old", "told"),
    [
        ({"project": {"name": "theirs", "entityName": "ann"}}, "project ann/theirs"),
        (f"{A}/ann/theirs?token=secret", f"address {A}/ann/theirs"),
        (f"{A}/login", f"address {A}/login"),
        (opaque("r1", Namespace("x", "y")), "run x/y/r1"),
        ("wandb-artifact://x/y/z:v0", "artifact wandb-artifact://x/y/"),
        ("wandb-artifact://5b5e5b5e5b5e5b5e5b5e/a.json", "artifact wandb-artifact://5b5e5b5e5b5e5b5e"),
        ("wandb-client-artifact://_latest/a", "artifact wandb-client-artifact://_latest"),
    ],
)
def test_what_was_not_moved_is_left_and_counted(old: Any, told: str):
    rewritten = references().of({"it": old}, OLD)
    assert rewritten.spec == {"it": old}
    ((what, count),) = rewritten.unresolved.items()
    assert what.startswith(told)
    assert "secret" not in what
    assert count == 1


def test_a_report_that_is_not_there_yet_is_a_link():
    address = f"{A}/ann/vision/reports/A--Vmlldzo5"
    rewritten = references().of({"it": [address, {"type": "report", "id": "Vmlldzo5"}]}, OLD)
    assert rewritten.spec["it"][0] == address
    assert rewritten.links.total() == 2


def test_a_report_may_get_the_id_that_it_had():
    same = references()
    same.views["Vmlldzo5"] = "Vmlldzo5"
    rewritten = same.of({"it": f"{A}/ann/vision/reports/A--Vmlldzo5"}, OLD)
    assert rewritten.spec["it"] == f"{B}/bea/seeing%20it/reports/A--Vmlldzo5"
    assert not rewritten.links


def test_internal_ids_that_are_not_known_are_asked_for():
    all_of = references()
    all_of.projects.clear()
    rewritten = all_of.of({"project": {"name": "vision", "entityName": "ann", "id": 7}}, OLD)
    assert rewritten.wanted == {NEW}


def test_custom_charts_are_named_but_for_those_that_every_server_has():
    panels = [{"panelDefId": name} for name in ("ann/curve", "wandb/line/v0", "ann/curve")]
    rewritten = references().of({"panels": panels}, OLD)
    assert rewritten.spec == {"panels": panels}
    assert rewritten.charts == {"ann/curve": 2}
