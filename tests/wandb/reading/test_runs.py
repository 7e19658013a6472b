"""Runs are listed each once, with all that is in them, a page at a time."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from engine.errors import ConfigError, NotFound
from engine.protocols import SystemOptions, Unreadable
from engine.records import Namespace, Run, RunState, Selection
from engine.transfer.context import Context
from engine.transfer.throttling.retry import RetryPolicy
from engine.wandb import WandbSource
from engine.wandb.client import connect
from engine.wandb.reading import runs as reading
from engine.wandb.reading.runs import run_of
from tests.servers import RunningSandbox
from tests.wandb import raw
from tests.wandb.conftest import ENTITY

pytestmark = pytest.mark.anyio


async def listed(source: WandbSource, project: str, **selection: object) -> list[Run | Unreadable]:
    wanted = Selection(projects=(project,), **selection)  # type: ignore[arg-type]
    return [run async for p in source.projects(wanted) async for run in source.runs(p, wanted)]


async def ids(source: WandbSource, project: str, **selection: object) -> list[str]:
    return [run.id for run in await listed(source, project, **selection)]


async def test_a_page_tells_all_of_a_run(
    source: WandbSource, sandbox: RunningSandbox, context: Context, project: str
) -> None:
    config = {
        "lr": {"value": 0.1, "desc": "how fast"},
        "tricky": {"value": {"value": 3, "unit": "m"}},
        "long": {"value": 2**80},
        "wandb_version": 1,
        "_wandb": {"value": {"t": {"3": [1]}, "m": [{"1": "loss"}], "visualize": {"chart": {}}}},
    }
    for number in range(250):
        raw.upsert(
            sandbox,
            project,
            f"run{number}",
            config=json.dumps(config),
            summaryMetrics='{"loss": NaN, "_step": 3, "_wandb": {"runtime": 7}}',
            displayName="shown",
            notes="# notes",
            tags=["a", "b c"],
            groupName="g",
            jobType="j",
            host="h",
            commit="c0ffee",
            sweep=None,
        )
    before = context.counters.requests
    found = await listed(source, project)
    # Projects, and three pages of runs.
    assert context.counters.requests - before == 1 + 3
    assert [run.id for run in found] == [f"run{number}" for number in range(250)]
    run = found[7]
    assert isinstance(run, Run)
    assert run.config == {"lr": 0.1, "tricky": {"value": 3, "unit": "m"}, "long": 2**80}
    assert repr(run.summary) == "{'loss': nan, '_step': 3, '_wandb': {'runtime': 7}}"
    assert run.extra["wandb"] == {
        "_wandb": config["_wandb"]["value"],  # type: ignore[index]
        "raw": {"wandb_version": 1},
        "descriptions": {"lr": "how fast"},
    }
    assert (run.name, run.notes, run.tags, run.group, run.job_type) == (
        "shown",
        "# notes",
        ("a", "b c"),
        "g",
        "j",
    )
    assert (run.host, run.code.commit, run.user) == ("h", "c0ffee", ENTITY)
    assert run.url == f"{sandbox.url}/{ENTITY}/{project}/runs/run7"


async def test_one_run_is_what_the_list_tells_of_it(
    source: WandbSource, sandbox: RunningSandbox, project: str
) -> None:
    raw.finished(sandbox, project, "r", [{"_step": 0, "x": 1}])
    assert [await source.run(Namespace(ENTITY, project), "r")] == await listed(source, project)
    with pytest.raises(NotFound, match="source"):
        await source.run(Namespace(ENTITY, project), "nobody")


async def test_filters_are_those_of_mongodb(
    source: WandbSource, sandbox: RunningSandbox, project: str
) -> None:
    for number in range(4):
        config = json.dumps({"lr": {"value": number / 10}})
        raw.upsert(sandbox, project, f"r{number}", config=config, tags=["odd"] if number % 2 else [])
    assert await ids(source, project, filter='{"config.lr.value": {"$gt": 0.1}}') == ["r2", "r3"]
    assert await ids(
        source, project, filter='{"config.lr": {"$gt": 0.1}, "created_at": {"$gt": "2020-01-01"}}'
    ) == ["r2", "r3"]
    assert await ids(source, project, filter='{"tags": "odd"}', limit=1) == ["r1"]
    assert await ids(source, project, filter='{"tags": "odd"}', since=2**42) == []
    with pytest.raises(ConfigError, match="not a JSON object"):
        await ids(source, project, filter="state = 'finished'")


async def test_runs_by_their_ids_and_states_and_in_another_order(
    source: WandbSource, sandbox: RunningSandbox, context: Context, project: str
) -> None:
    for number in range(4):
        raw.upsert(sandbox, project, f"r{number}", summaryMetrics=f'{{"acc": {-number}}}')
        raw.stream(sandbox, project, f"r{number}", complete=True, exitcode=number % 2)
    assert await ids(source, project, ids=("r3", "r1", "nobody")) == ["r1", "r3"]
    assert await ids(source, project, states=("FAILED",)) == ["r1", "r3"]
    assert await ids(source, project, states=("failed", "finished"), ids=("r0",)) == ["r0"]
    assert await ids(source, project, order="+summary_metrics.acc", limit=2) == ["r3", "r2"]
    before = context.counters.requests
    await listed(source, project, ids=("r0",))
    assert context.counters.requests - before == 2, "projects, and one page"


@pytest.mark.parametrize(
    ("last", "state", "exit_code"),
    [
        ({"complete": True, "exitcode": 0}, RunState.FINISHED, 0),
        ({"complete": True, "exitcode": 3}, RunState.FAILED, 3),
        ({"preempting": True}, RunState.PREEMPTING, None),
        ({}, RunState.RUNNING, None),
    ],
)
async def test_states_and_exit_codes(
    source: WandbSource,
    sandbox: RunningSandbox,
    project: str,
    last: dict[str, Any],
    state: RunState,
    exit_code: int | None,
) -> None:
    raw.upsert(sandbox, project, "r")
    raw.stream(sandbox, project, "r", [{"_step": 0, "x": 1}], **last)
    run = await source.run(Namespace(ENTITY, project), "r")
    assert (run.state, run.exit_code) == (state, exit_code)
    assert run.heartbeat_at is not None
    assert (run.ended_at is not None) == state.is_final


async def test_whatever_changes_a_run_changes_its_fingerprint(
    source: WandbSource, sandbox: RunningSandbox, project: str
) -> None:
    namespace, seen = Namespace(ENTITY, project), set()
    raw.upsert(sandbox, project, "r")
    raw.stream(sandbox, project, "r", complete=True, exitcode=0)
    changes = (
        lambda: None,
        lambda: raw.stream(sandbox, project, "r", [{"_step": 0, "x": 1}], complete=True, exitcode=0),
        lambda: raw.stream(sandbox, project, "r", files={"wandb-events.jsonl": ['{"system.cpu": 1}']}),
        lambda: raw.stream(sandbox, project, "r", files={"output.log": ["hello"]}),
        lambda: raw.stream(sandbox, project, "r", files={"wandb-summary.json": ['{"x": 2}']}),
        lambda: raw.upsert(sandbox, project, "r", notes="later"),
        lambda: raw.upsert(sandbox, project, "r", tags=["late"]),
    )
    for change in changes:
        change()
        seen.add((await source.run(namespace, "r")).fingerprint)
        assert (await source.run(namespace, "r")).fingerprint in seen
    assert len(seen) == len(changes)


def damage(server: RunningSandbox, project: str, run: str, column: str) -> None:
    """As after a fault of the server's own."""
    with closing(sqlite3.connect(server.data_dir / "records.sqlite")) as db, db:
        db.execute(
            f"UPDATE runs SET {column} = '[1, 2' WHERE name = ? "
            "AND project = (SELECT number FROM projects WHERE name = ?)",
            (run, project),
        )


async def test_a_run_that_makes_no_sense_is_told_and_the_others_come(
    source: WandbSource, sandbox: RunningSandbox, project: str
) -> None:
    for name in ("good", "bad", "fine"):
        raw.upsert(sandbox, project, name)
    damage(sandbox, project, "bad", "summary")
    found = await listed(source, project)
    assert [run.id for run in found] == ["good", "bad", "fine"]
    bad = found[1]
    assert isinstance(bad, Unreadable)
    assert "makes no sense" in str(bad.error)


async def test_a_run_that_the_server_chokes_on_is_told_and_the_others_come(
    source: WandbSource, sandbox: RunningSandbox, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its page fails with 500 whenever it is asked for, in whatever size."""
    impatient = RetryPolicy(attempts=1)
    monkeypatch.setattr(reading, "DEFAULT_POLICY", impatient)
    monkeypatch.setattr(reading, "_LARGE_PAGE_POLICY", impatient)
    names = [f"r{number}" for number in range(20)]
    for name in names:
        raw.upsert(sandbox, project, name)
    damage(sandbox, project, "r11", "config")
    found = await listed(source, project)
    assert [run.id for run in found] == names
    assert [run.id for run in found if isinstance(run, Unreadable)] == ["r11"]


async def test_a_list_that_moved_while_it_was_read_is_read_again(
    sandbox: RunningSandbox, context: Context, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that are deleted on an earlier page pull later ones to where nobody looks any more."""
    monkeypatch.setattr(reading, "PER_PAGE", 3)
    for number in range(8):
        raw.upsert(sandbox, project, f"r{number}")
    pages = 0

    async with connect(sandbox.url, sandbox.api_key, context) as client:
        plain = client.graphql

        async def moving(document: str, variables: dict[str, object], subject: str, **rest: Any) -> object:
            nonlocal pages
            answer = await plain(document, variables, subject, **rest)
            pages += 1
            if pages == 1:  # as if the page had been skipped
                answer["project"]["runs"]["edges"] = answer["project"]["runs"]["edges"][:1]
            return answer

        monkeypatch.setattr(client, "graphql", moving)
        found = [
            run.id
            async for run in reading.list_runs(client, context, Namespace(ENTITY, project), Selection())
        ]
    assert sorted(found) == [f"r{number}" for number in range(8)]
    assert not context.losses.counts


async def test_projects_of_an_entity_or_the_one_that_is_named(
    sandbox: RunningSandbox, context: Context, project: str
) -> None:
    raw.upsert(sandbox, project, "r")

    async def projects(rest: str, *names: str) -> list[str]:
        source = WandbSource(f"{sandbox.url}/{rest}", SystemOptions(api_key=sandbox.api_key))
        async with source.open(context):
            return [p.namespace.path async for p in source.projects(Selection(projects=names))]

    assert await projects(f"{ENTITY}/{project}") == [f"{ENTITY}/{project}"]
    assert f"{ENTITY}/{project}" in await projects(ENTITY)
    assert await projects("", project) == [f"{ENTITY}/{project}"]
    for rest, told in ((f"{ENTITY}/nowhere", "no project"), ("nobody", "entity 'nobody' does not exist")):
        with pytest.raises(ConfigError, match=told):
            await projects(rest)


def test_what_a_removed_account_or_an_older_server_leaves_out_is_no_error() -> None:
    node = {
        "name": "r",
        "config": None,
        "summaryMetrics": None,
        "createdAt": "2024-01-01T00:00:00",
        "user": None,
    }
    run = run_of(node, Namespace("e", "p"), "https://api.wandb.ai")
    assert run.started_at == 1_704_067_200_000
    assert run.user is None
    assert run.url == "https://wandb.ai/e/p/runs/r"
