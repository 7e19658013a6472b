"""What a second transfer leaves out, what it does again, and that a crash in between makes no difference."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from engine.errors import CommError, ConfigError, NotFound, Outage, Side, Transient
from engine.records import Namespace, Run, RunState, Selection
from engine.transfer.engine import Engine
from engine.transfer.events import Finished, Progress, RunDone
from engine.transfer.ledger.items import Kind, State
from engine.transfer.ledger.ledger import LEDGER
from engine.transfer.ledger.status import read_status
from engine.transfer.options import Options, Result
from tests.memory import MemoryDestination, MemoryRun, MemorySource

pytestmark = pytest.mark.anyio

Contents = dict[str, list[MemoryRun]]


def run(number: int, project: str = "vision", state: RunState = RunState.FINISHED) -> MemoryRun:
    return MemoryRun(
        Run(id=f"r{number}", namespace=Namespace("", project), name=f"run {number}", state=state),
        history=[("loss", step, 1_000 + step, 1 / (step + 1)) for step in range(5)],
        files={"a.txt": b"a" * number},
        artifacts={
            f"model-{number}": {"weights": bytes([number % 256]) * 1_000},
            f"data-{number}": {"empty": b""},
        },
    )


def contents(count: int = 4) -> Contents:
    return {"vision": [run(n) for n in range(count)], "text": [run(100, "text")]}


class Recorded(MemoryDestination):
    """Knows everything that was asked of it, in order."""

    def __init__(self, **facts: object) -> None:
        super().__init__(**facts)  # type: ignore[arg-type]
        self.acts: list[str] = []
        self.before = self.acts.append


async def transfer(
    origin: MemorySource, target: MemoryDestination, state_dir: Path, **options: object
) -> Result:
    async with Engine(origin, target, Options(state_dir=state_dir, **options)) as engine:  # type: ignore[arg-type]
        return await engine.run()


async def again(
    origin: MemorySource, target: Recorded, state_dir: Path, **options: object
) -> tuple[Result, list[str]]:
    """A further transfer, and what it asked of the destination."""
    target.faults.clear()
    target.acts.clear()
    return await transfer(origin, target, state_dir, **options), sorted(target.acts)


async def test_an_unchanged_source_is_not_worth_a_single_request(tmp_path):
    origin, target = MemorySource(contents()), Recorded()
    await transfer(origin, target, tmp_path)
    reads = origin.reads

    result, acts = await again(origin, target, tmp_path)

    assert (result.exit_status, result.runs_found, result.runs_done, result.runs_skipped) == (0, 5, 0, 5)
    assert acts == []
    assert origin.reads == reads


async def test_what_is_left_out_is_told_in_events(tmp_path):
    await transfer(MemorySource(contents()), MemoryDestination(), tmp_path)
    async with Engine(MemorySource(contents()), MemoryDestination(), Options(state_dir=tmp_path)) as engine:
        events = [event async for event in engine.events()]

    assert [event for event in events if isinstance(event, RunDone)] == []
    assert [event.runs_skipped for event in events if isinstance(event, Progress | Finished)][-2:] == [5, 5]


async def test_without_a_state_directory_every_transfer_begins_anew(tmp_path):
    origin, target = MemorySource(contents()), Recorded()
    for _ in range(2):
        async with Engine(origin, target, Options(spool=tmp_path)) as engine:
            result = await engine.run()
    assert (result.runs_done, result.runs_skipped) == (5, 0)


async def test_a_transfer_can_start_over(tmp_path):
    origin, target = MemorySource(contents()), Recorded()
    await transfer(origin, target, tmp_path)

    result, acts = await again(origin, target, tmp_path, incremental=False)

    assert result.runs_done == 5
    assert not [act for act in acts if act.startswith("resume")]


CHANGES: dict[str, Callable[[MemoryRun], MemoryRun]] = {
    "a tag": lambda held: replace(held, run=replace(held.run, tags=("late",))),
    "a metric": lambda held: replace(held, history=[*held.history, ("loss", 9, 9, 0.5)]),
    "its state": lambda held: replace(held, run=replace(held.run, state=RunState.FAILED)),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_a_changed_run_is_applied_whole_and_no_other(tmp_path, what):
    origin, target = MemorySource(contents()), Recorded()
    await transfer(origin, target, tmp_path)
    origin.contents["vision"][1] = CHANGES[what](origin.contents["vision"][1])

    result, acts = await again(origin, target, tmp_path)

    assert (result.runs_done, result.runs_skipped) == (1, 4)
    assert acts == sorted(
        ["open:r1", "history:r1", "files:r1", "artifact:data-1", "artifact:model-1", "finish:r1"]
    )
    assert target.written["r1"].history == origin.contents["vision"][1].history


async def test_a_new_run_is_brought_alone(tmp_path):
    origin, target = MemorySource(contents()), Recorded()
    await transfer(origin, target, tmp_path)
    origin.contents["vision"].append(run(50))

    result, _ = await again(origin, target, tmp_path)

    assert (result.runs_done, result.runs_skipped) == (1, 5)


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.PENDING])
async def test_a_run_that_goes_on_is_never_done(tmp_path, state):
    origin, target = MemorySource({"vision": [run(1, state=state)]}), Recorded()
    await transfer(origin, target, tmp_path)
    assert read_status(tmp_path)[0].counts[Kind.RUN] == {State.PENDING: 1}

    result, _ = await again(origin, target, tmp_path)
    assert (result.runs_done, result.runs_skipped) == (1, 0)

    origin.contents["vision"] = [run(1)]
    assert (await again(origin, target, tmp_path))[0].runs_done == 1
    assert (await again(origin, target, tmp_path))[0].runs_skipped == 1


@pytest.mark.parametrize(
    ("fault", "retried"),
    [
        ("history:r1", ["history:r1", "resume files:r1"]),
        ("files:r1", ["files:r1", "resume history:r1"]),
        ("artifact:model-1", ["artifact:model-1", "resume files:r1", "resume history:r1"]),
    ],
)
async def test_only_the_part_that_failed_is_brought_again(tmp_path, fault, retried):
    origin = MemorySource(contents())
    target = Recorded(faults={fault: Transient("reset", side=Side.DESTINATION)})
    assert (await transfer(origin, target, tmp_path)).exit_status == 1

    result, acts = await again(origin, target, tmp_path)

    assert (result.exit_status, result.runs_done, result.runs_skipped) == (0, 1, 4)
    assert acts == sorted(["open:r1", "finish:r1", *retried])
    undisturbed = MemoryDestination()
    await transfer(origin, undisturbed, tmp_path / "other")
    assert target.written["r1"] == undisturbed.written["r1"]
    assert read_status(tmp_path)[0].failures == ()


async def test_a_history_whose_end_was_not_acknowledged_is_brought_again(tmp_path):
    origin = MemorySource(contents())
    target = Recorded(faults={"finish:r1": Transient("reset", side=Side.DESTINATION)})
    await transfer(origin, target, tmp_path)

    _, acts = await again(origin, target, tmp_path)

    assert acts == ["finish:r1", "history:r1", "open:r1", "resume files:r1"]


@pytest.mark.parametrize("fault", ["run:r1", "artifacts:r1", "runs:vision"])
async def test_what_could_not_be_read_is_tried_again(tmp_path, fault):
    origin, target = MemorySource(contents(), faults={fault: NotFound("gone", side=Side.SOURCE)}), Recorded()
    assert (await transfer(origin, target, tmp_path)).exit_status == 1
    assert [failures.cause.message for failures in read_status(tmp_path)[0].failures] == ["gone"]
    origin.faults.clear()

    result, _ = await again(origin, target, tmp_path)

    assert result.exit_status == 0
    assert len(target.written) == 5
    assert read_status(tmp_path)[0].failures == ()


async def test_a_part_that_was_left_out_the_first_time_is_brought_alone(tmp_path):
    origin, target = MemorySource(contents(1)), Recorded()
    await transfer(origin, target, tmp_path, history=False)

    result, acts = await again(origin, target, tmp_path)
    assert result.runs_done == 2
    assert [act for act in acts if act.endswith(":r0")] == [
        "finish:r0",
        "history:r0",
        "open:r0",
        "resume files:r0",
    ]
    assert (await again(origin, target, tmp_path, files=False))[0].runs_skipped == 2
    assert (await again(origin, target, tmp_path))[0].runs_skipped == 2


async def test_proof_for_one_place_is_none_for_another(tmp_path):
    origin, target = MemorySource(contents()), Recorded()
    await transfer(origin, target, tmp_path)

    result, _ = await again(origin, target, tmp_path, remap={"vision": "images"})
    assert (result.runs_done, result.runs_skipped) == (4, 1)

    elsewhere = MemoryDestination(uri="memory:elsewhere")
    assert (await transfer(origin, elsewhere, tmp_path)).runs_done == 5


async def test_artifacts_of_proven_runs_are_only_looked_at_on_request(tmp_path):
    origin, target = MemorySource(contents()), Recorded()
    origin.contents["vision"][3].artifacts.clear()
    await transfer(origin, target, tmp_path)
    origin.contents["vision"][1].artifacts["model-1"]["more"] = b"late"
    origin.contents["vision"][2].artifacts["new"] = {"x": b"late"}
    origin.contents["vision"][3].artifacts["first"] = {"x": b"late"}

    assert (await again(origin, target, tmp_path))[0].runs_skipped == 5
    result, acts = await again(origin, target, tmp_path, recheck_artifacts=True)

    assert (result.runs_done, result.runs_skipped) == (3, 2)
    brought = [act for act in acts if act.startswith("artifact")]
    assert brought == ["artifact:first", "artifact:model-1", "artifact:new"]
    assert not [act for act in acts if act.startswith("history")]
    assert target.written["r1"].artifacts["model-1"]["more"] == b"late"
    assert (await again(origin, target, tmp_path, recheck_artifacts=True))[0].runs_skipped == 5


async def test_artifacts_that_cannot_be_looked_at_again_are_a_failure(tmp_path):
    origin, target = MemorySource(contents()), Recorded()
    await transfer(origin, target, tmp_path)
    origin.faults["artifacts:r1"] = CommError("broken", side=Side.SOURCE)

    result, _ = await again(origin, target, tmp_path, recheck_artifacts=True)

    assert (result.exit_status, result.runs_failed, result.runs_skipped) == (1, 1, 4)


async def test_two_engines_do_not_share_a_state_directory(tmp_path):
    async with Engine(MemorySource(contents()), MemoryDestination(), Options(state_dir=tmp_path)):
        with pytest.raises(ConfigError, match="in use by process"):
            await transfer(MemorySource(contents()), MemoryDestination(), tmp_path)


async def test_failures_are_told_by_cause_with_a_line_each_for_other_tools(tmp_path):
    broken = CommError("too long", side=Side.DESTINATION, remedy="make it shorter")
    target = Recorded(faults={"history:r1": broken, "history:r2": broken, "artifact:model-3": broken})
    await transfer(MemorySource(contents()), target, tmp_path)

    [status] = read_status(tmp_path)
    told = [(f.kind, f.cause.kind, f.cause.message, f.cause.remedy, f.count) for f in status.failures]
    assert told == [
        (Kind.HISTORY, "CommError", "too long", "make it shorter", 2),
        (Kind.ARTIFACT, "CommError", "too long", "make it shorter", 1),
    ]
    assert status.counts[Kind.RUN] == {State.DONE: 2, State.FAILED: 3}
    lines = {path.name: len(path.read_text().splitlines()) for path in tmp_path.glob("*.jsonl")}
    assert lines == {
        "run_successes.jsonl": 2,
        "run_errors.jsonl": 3,
        "artifact_successes.jsonl": 9,
        "artifact_errors.jsonl": 1,
    }


async def test_without_its_ledger_a_transfer_does_not_go_on(tmp_path):
    target = MemoryDestination()
    acts: list[str] = []

    def breaks(act: str) -> None:
        acts.append(act)
        if len(acts) == 3:
            with closing(sqlite3.connect(tmp_path / LEDGER)) as ledger:
                ledger.execute("DROP TABLE item")

    target.before = breaks
    with pytest.raises(Outage, match=r"ledger .* cannot be written"):
        await transfer(MemorySource(contents(200)), target, tmp_path)
    assert len(acts) < 200


@pytest.mark.parametrize("moment", range(1, 31, 3))
async def test_a_crash_at_any_moment_and_a_second_transfer_end_as_if_undisturbed(tmp_path, moment):
    """The state directory is copied as a dying process would leave it, and the first engine cut off."""
    origin, target = MemorySource(contents()), MemoryDestination()
    crash, acts = anyio.CancelScope(), 0

    def dies(_: str) -> None:
        nonlocal acts
        acts += 1
        if acts == moment:
            shutil.copytree(tmp_path / "state", tmp_path / "crashed")
            crash.cancel()
        if acts >= moment:
            raise Transient("dead", side=Side.DESTINATION)

    target.before = dies
    with crash:
        await transfer(origin, target, tmp_path / "state")
    assert acts >= moment
    target.before = lambda _: None

    result = await transfer(origin, target, tmp_path / "crashed")

    assert result.exit_status == 0
    assert result.runs_done + result.runs_skipped == 5
    undisturbed = MemoryDestination()
    await transfer(origin, undisturbed, tmp_path / "undisturbed")
    assert target.written == undisturbed.written
    assert (await transfer(origin, target, tmp_path / "crashed")).runs_skipped == 5


async def test_a_limit_is_one_of_work(tmp_path):
    origin, target = MemorySource(contents()), Recorded()
    asked = {"selection": Selection(limit=2)}
    await transfer(origin, target, tmp_path, **asked)

    result, _ = await again(origin, target, tmp_path, **asked)
    assert (result.runs_found, result.runs_done, result.runs_skipped) == (4, 2, 2)
    assert set(target.written) == {"r0", "r1", "r2", "r3"}

    result, _ = await again(origin, target, tmp_path, **asked)
    assert (result.runs_found, result.runs_done, result.runs_skipped) == (5, 1, 4)
    assert "r100" in target.written


async def test_runs_that_go_on_are_counted_apart(tmp_path):
    origin = MemorySource({"vision": [run(1), run(2, state=RunState.RUNNING)]})
    async with Engine(origin, MemoryDestination(), Options(state_dir=tmp_path)) as engine:
        (finished,) = [event async for event in engine.events() if isinstance(event, Finished)]
    assert (finished.runs_done, finished.runs_live) == (2, 1)
