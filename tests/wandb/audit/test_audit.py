"""What W&B declares of what it holds: what the engine writes is found there as expected, and only that."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import Engine
from engine.protocols import SystemOptions
from engine.records import Code, DatasetInput, Namespace, Project, RunState
from engine.transfer.context import Context
from engine.verify.findings import Findings, Level
from engine.verify.verifier import Verifier, VerifyOptions
from engine.wandb import WandbDestination
from engine.wandb.audit.audit import WandbAudit
from tests.servers import RunningSandbox
from tests.verify.holding import Held, Holding, held, version

pytestmark = pytest.mark.anyio

URI = "tracker:http://somewhere"


@pytest.fixture
def destination(sandbox: RunningSandbox, request: pytest.FixtureRequest) -> WandbDestination:
    path = f"{sandbox.url}/rehearsal/{request.node.name[:100]}"
    return WandbDestination(path, SystemOptions(api_key=sandbox.api_key))


async def moved(runs: list[Held], destination: WandbDestination) -> Findings:
    """Move these runs, and verify them by their bytes."""
    async with Engine(Holding(runs, URI), destination) as engine:
        assert (await engine.run()).exit_status == 0
    return await compared(runs, destination)


async def compared(runs: list[Held], destination: WandbDestination) -> Findings:

    return await Verifier(Holding(runs, URI), destination, VerifyOptions(level=Level.DEEP)).run()


def told(findings: Findings) -> list[str]:
    return [str(difference) for difference in findings.differences]


def full_run() -> Held:
    run = held(
        "full",
        name="a \ud800 name",
        config={
            "lr": 0.1,
            "n": 3,
            "nan": math.nan,
            "_import": 1,
            "wandb_version": 2,
            "deep": {"a": [1, None]},
        },
        summary={"loss": 0.2, "_step": 7.0, "": 1.0, "inf": math.inf},
        labels={"team": "vision", "empty": ""},
        tags=("a", "a", "", "t" * 70, "b"),
        notes="two\nlines",
        group="g",
        job_type="train",
        user="ada",
        host="gpu-1",
        started_at=1_700_000_000_123,
        ended_at=1_700_000_090_623,
        parent_id="parent",
        deleted=True,
        code=Code(
            program="train.py", commit="c" * 40, remote="https://ada:secret@git.example/r.git", branch="b"
        ),
        inputs=(DatasetInput(name="d", digest="1", source_type="s3", source="{}", tags={"k": "v"}),),
        extra={"uri": "https://ada:secret@host/x", "more": [1, 2]},
    )
    run.points = [
        (key, step, 1_700_000_000_123 + 1_000 * step, step / 7)
        for key in ("loss", "_step", "", "inf")
        for step in range(5)
    ]
    run.files = {"notes.txt": b"text", "sub/empty": b"", "../out": b"refused"}
    return run


async def test_all_that_is_said_of_a_run(destination: WandbDestination) -> None:
    findings = await moved([full_run()], destination)
    assert told(findings) == []
    assert findings.not_verified == []
    assert findings.declared.counts == {
        "config_key_renamed": 2,
        "key_renamed": 2,
        "password_redacted": 1,
        "path_refused": 1,
        "tag_dropped": 3,
        "value_coerced": findings.declared.counts["value_coerced"],
    }


@pytest.mark.parametrize("state", RunState)
async def test_every_state(destination: WandbDestination, state: RunState) -> None:
    run = held("r", state=state, summary={})
    run.points = [("m", 0, 1_700_000_000_000, 1.0)]
    assert told(await moved([run], destination)) == []


async def test_an_id_that_w_and_b_does_not_take(destination: WandbDestination) -> None:
    findings = await moved([held("a/b:c")], destination)
    assert told(findings) == []
    assert findings.declared.counts["run_id_changed"] == 1


async def test_artifacts_with_all_they_can_have(destination: WandbDestination) -> None:
    run = held("r")
    run.versions = [
        version("model x", 0, aliases=("best", "v9", "a/b"), tags=("ok", "no/tag"), description="first"),
        version("model x", 1, aliases=("latest",), metadata={f"k{n}": n for n in range(150)}),
        version("other", None, metadata={"nan": math.nan, "_import": {"a": 1}}),
    ]
    run.versions[0].entries = {"a": b"1", "C:drive": b"2", "../x": b"3", "r": "https://u:p@host/x"}
    run.versions[1].entries = {"a": b"2", "sub/b": b""}
    findings = await moved([run], destination)
    assert told(findings) == []
    assert findings.counts.artifacts == 3
    assert findings.declared.counts["alias_dropped"] == 2
    assert findings.declared.counts["path_renamed"] == findings.declared.counts["path_refused"] == 1


SPOILT: dict[str, tuple[dict[str, Any], str]] = {
    "alias": ({"aliases": ("other",)}, "alias 'other' is missing"),
    "tag": ({"tags": ("other",)}, "tag 'other' is missing"),
    "description": ({"description": "other"}, 'description: "other" expected, "first" found'),
    "metadata": ({"metadata": {"k": 2}}, "metadata 'k': 2 expected, 1 found"),
    "metadata type": ({"metadata": {"k": 1.0}}, "metadata 'k': 1.0 expected, 1 found"),
    "time": ({"created_at": 6}, "_import 'created_at': 6 expected, 5 found"),
}


@pytest.mark.parametrize("name", SPOILT)
async def test_what_is_said_of_an_artifact_otherwise_is_found(
    destination: WandbDestination, name: str
) -> None:
    run = held("r")
    run.versions = [
        version("m", 0, aliases=("best",), tags=("t",), description="first", metadata={"k": 1}, created_at=5)
    ]
    assert told(await moved([run], destination)) == []
    facts, expected = SPOILT[name]
    run.versions[0].artifact = replace(run.versions[0].artifact, **facts)
    found = told(await compared([run], destination))
    assert found
    assert any(expected in difference for difference in found), found


async def test_versions_that_were_imported_in_another_order_are_found(destination: WandbDestination) -> None:
    run = held("r")
    run.versions = [version("m", number) for number in (1, 0)]
    for place, one in enumerate(run.versions):
        one.entries = {"a": bytes([place])}
    async with Engine(Holding([run], URI), destination) as engine:
        await engine.run()
    (found,) = told(await compared([run], destination))
    assert "v0 became v1, but the later v1 became v0" in found


async def test_runs_go_where_a_migration_puts_them(sandbox: RunningSandbox, tmp_path: Path) -> None:
    """And nothing is created by looking there."""

    audit = WandbAudit(f"{sandbox.url}/rehearsal", SystemOptions(api_key=sandbox.api_key))
    names = ("with/slash", "Case", "case", "plain")
    projects = [Project(namespace=Namespace("", name), id=name) for name in names]
    context = Context(spool=tmp_path, remap={"plain": "never-made"})
    async with audit.open(context):
        places = await audit.places(projects)
        found = [run async for run in audit.runs(places[Namespace("", "plain")], ["r"])]
    assert places[Namespace("", "plain")] == Namespace("rehearsal", "never-made")
    assert len(set(places.values())) == 4
    assert found == []
    assert "never-made" not in str(
        sandbox.graphql('{ models(entityName: "rehearsal") { edges { node { name } } } }')
    )
