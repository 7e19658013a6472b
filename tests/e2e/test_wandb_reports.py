"""Reports, a draft, a saved view and a sweep, made and read back by wandb-workspaces and the official SDK."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import Engine, Options, open_destination, open_source
from engine.protocols import Destination, Source, SystemOptions
from engine.sandbox import Account
from engine.transfer.options import Result
from engine.verify.verifier import Verifier, VerifyOptions
from tests.e2e.wandb_pair import name_of
from tests.servers import RunningSandbox, running_sandbox

VIEWS = """query ($p: String, $e: String, $type: String) { project(name: $p, entityName: $e) {
    allViews(viewType: $type) { edges { node { id name displayName description spec parentId } } } } }"""
RUN = """query ($p: String, $e: String) { project(name: $p, entityName: $e) {
    runs { edges { node { name sweepName } } } } }"""


@dataclass(frozen=True)
class Place:
    """A project on one of two servers."""

    server: RunningSandbox
    entity: str
    project: str

    def sdk(self, what: str, path: Path) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "tests.e2e.sdk_reports", what, str(path), self.entity, self.project],
            env={
                **os.environ,
                "WANDB_BASE_URL": self.server.url,
                "WANDB_API_KEY": self.server.api_key,
                "WANDB_ERROR_REPORTING": "false",
            },
            capture_output=True,
            text=True,
            timeout=110,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(path.read_text()) if what == "read" else None

    def views(self, kind: str) -> dict[str, Any]:
        data = self.server.graphql(VIEWS, p=self.project, e=self.entity, type=kind)
        nodes = [edge["node"] for edge in data["project"]["allViews"]["edges"]]
        assert len({node["displayName"] for node in nodes}) == len(nodes), "a view is there twice"
        return {node["displayName"]: {**node, "spec": json.loads(node["spec"])} for node in nodes}


@dataclass
class World:
    source: Place
    target: Place
    state: Path
    results: list[Result] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)

    def migrate(self, *, reports: bool = True) -> Result:
        before = self.target.server.counters().get("writes", 0)
        remap = {f"{self.source.entity}/{self.source.project}": f"{self.target.entity}/{self.target.project}"}

        async def run() -> Result:
            async with Engine(
                *self.sides(), Options(remap=remap, reports=reports, state_dir=self.state)
            ) as engine:
                return await engine.run()

        result = anyio.run(run)
        assert not result.failures
        self.results.append(result)
        self.writes.append(self.target.server.counters().get("writes", 0) - before)
        return result

    def sides(self) -> tuple[Source, Destination]:
        a, b = self.source, self.target
        return (
            open_source(f"wandb:{a.server.url}/{a.entity}", SystemOptions(api_key=a.server.api_key)),
            open_destination(f"wandb:{b.server.url}/{b.entity}", SystemOptions(api_key=b.server.api_key)),
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    root = tmp_path_factory.mktemp("reports")
    with (
        running_sandbox(root / "from", accounts=[Account("ann")]) as a,
        running_sandbox(root / "to", accounts=[Account("bea")]) as b,
    ):
        world = World(Place(a, "ann", "vision"), Place(b, "bea", "seeing"), root / "state")
        world.source.sdk("fill", root / "-")
        for _ in range(3):
            world.migrate()
        yield world


@pytest.fixture(scope="module")
def read(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """What the SDK reads on both sides."""
    directory = tmp_path_factory.mktemp("read")
    return world.source.sdk("read", directory / "from"), world.target.sdk("read", directory / "to")


def test_it_arrives_whole_and_again_writes_nothing(world: World):
    assert [result.runs_done for result in world.results] == [3, 0, 0]
    assert world.writes[0] > 0
    assert world.writes[1:] == [0, 0]


def test_a_verification_knows_the_sweep(world: World):
    options = VerifyOptions(remap={"ann/vision": "bea/seeing"})
    findings = anyio.run(Verifier(*world.sides(), options).run)
    assert not findings.differences
    assert "sweep_dropped" not in findings.declared.counts


def expected(value: Any, world: World, ids: dict[str, str]) -> Any:
    """A block of the source, with its references as they have to be at the destination."""
    text = json.dumps(by_name(value, world.source))
    for old, new in {
        f"{world.source.server.url}/ann/vision": f"{world.target.server.url}/bea/seeing",
        '"entityName": "ann"': '"entityName": "bea"',
        '"name": "vision"': '"name": "seeing"',
        "wandb-artifact://ann/vision/": "wandb-artifact://bea/seeing/",
        **ids,
    }.items():
        text = text.replace(old, new)
    return json.loads(text)


def by_name(value: Any, place: Place) -> Any:
    """A block whose references to artifacts by ids, which each server has of its own, tell names."""
    return json.loads(
        re.sub(
            r"wandb-(?:client-)?artifact://[0-9a-z]{16,}(?::latest)?",
            lambda match: f"artifact://{name_of(place.server, match[0])}",
            json.dumps(value),
        )
    )


def test_custom_charts_that_stay_are_declared_for_runs_and_reports(world: World):
    told = {loss.subject.partition(" ")[0] for loss in world.results[0].loss_examples["custom_chart_left"]}
    assert told == {"run", "report"}
    assert "ann/curve" in world.results[0].loss_examples["custom_chart_left"][0].detail
    assert "custom_chart_left" not in world.results[1].losses, "it was told"


def test_reports_are_equal_block_for_block_but_for_what_they_point_at(world: World, read: tuple[Any, Any]):
    source, target = (side["reports"] for side in read)
    assert target.keys() == source.keys() == {"What we found", "Appendix"}
    ids = {
        source[title]["url"].rpartition("--")[2]: target[title]["url"].rpartition("--")[2] for title in source
    }
    assert ids, "the addresses of reports end in their ids"
    for title, report in source.items():
        assert target[title]["description"] == report["description"]
        assert target[title]["name"] == report["name"]
        assert by_name(target[title]["blocks"], world.target) == expected(report["blocks"], world, ids)
    link = target["What we found"]["blocks"][1]["children"][1]["url"]
    assert link == target["Appendix"]["url"], "a report links to the report that came along"


def test_run_sets_name_the_project_by_its_id_there(world: World):
    (grid,) = [
        block
        for block in world.target.views("runs")["What we found"]["spec"]["blocks"]
        if block["type"] == "panel-grid"
    ]
    project = grid["metadata"]["runSets"][0]["project"]
    there = world.target.server.graphql('{ project(name: "seeing", entityName: "bea") { internalId } }')
    assert project == {"name": "seeing", "entityName": "bea", "id": there["project"]["internalId"]}


def test_where_a_report_came_from_is_told(world: World):
    spec = world.target.views("runs")["Appendix"]["spec"]
    assert spec["_import"]["id"] == world.source.views("runs")["Appendix"]["id"]
    assert spec["_import"]["user"] == "ann"
    assert spec["authors"], "somebody wrote it"


def test_what_points_elsewhere_is_declared(world: World):
    (loss,) = world.results[0].loss_examples["report_reference_unresolved"]
    assert "/them/other was not moved with it" in loss.detail
    assert "report_reference_unresolved" not in world.results[1].losses, "it was told"


def test_drafts_and_saved_views_come_too(world: World):
    assert world.target.views("runs/draft").keys() == {"Unfinished"}
    saved = world.target.views("project-view")["My view"]
    assert saved["name"] == world.source.views("project-view")["My view"]["name"]
    assert saved["spec"]["section"]["runSets"]


def test_a_sweep_has_its_config_and_its_runs_and_is_finished(world: World, read: tuple[Any, Any]):
    (before,), (after,) = (side["sweeps"].values() for side in read)
    assert len(after["runs"]) == 2
    assert after == {**before, "state": "FINISHED"}
    assert world.results[0].losses["sweep_finished"] == 1
    assert "sweep_dropped" not in world.results[0].losses
    data = world.target.server.graphql(RUN, p="seeing", e="bea")
    without = [
        edge["node"]["name"] for edge in data["project"]["runs"]["edges"] if not edge["node"]["sweepName"]
    ]
    assert without == ["alone"]


def test_an_agent_that_is_pointed_at_it_gets_nothing_to_do(world: World, read: tuple[Any, Any]):
    (name,) = read[1]["sweeps"]
    made = world.target.server.graphql(
        """mutation ($s: String!) { createAgent(input: {host: "h", projectName: "seeing",
        entityName: "bea", sweep: $s}) { agent { id } } }""",
        s=name,
    )
    beat = world.target.server.graphql(
        """mutation ($id: ID!) {
        agentHeartbeat(input: {id: $id, metrics: "{}", runState: "{}"}) { commands } }""",
        id=made["createAgent"]["agent"]["id"],
    )
    commands = json.loads(beat["agentHeartbeat"]["commands"])
    assert {each["type"] for each in commands} <= {"exit"}


def test_a_changed_report_is_changed_in_its_place(world: World, read: tuple[Any, Any]):
    world.source.sdk("change", Path("-"))
    before = world.target.views("runs")["Appendix"]["id"]
    world.migrate()
    assert world.writes[-1] == 1
    reports = world.target.views("runs")
    assert reports.keys() == {"What we found", "Appendix, corrected"}
    assert reports["Appendix, corrected"]["id"] == before


def test_they_can_be_left_out(world: World, tmp_path: Path):
    elsewhere = World(world.source, Place(world.target.server, "bea", "without"), tmp_path)
    elsewhere.migrate(reports=False)
    assert not elsewhere.target.views("runs")
