"""What a transfer promises, whatever the systems on its two sides are."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
import anyio.to_thread
import pytest

from engine.errors import AuthError, CommError, ConfigError, EngineError, NotFound, Outage, Side, Transient
from engine.records import HistoryChunk, Namespace, Run, Selection
from engine.transfer.engine import Engine
from engine.transfer.events import Connected, Finished, ItemFailed, LossRecorded, Progress, RunDone
from engine.transfer.options import Options, Result
from tests.memory import MemoryDestination, MemoryRun, MemorySource

pytestmark = pytest.mark.anyio


def run(number: int, project: str = "vision") -> MemoryRun:
    return MemoryRun(
        Run(id=f"r{number}", namespace=Namespace("", project), name=f"run {number}", started_at=number),
        history=[("loss", step, 1_000 + step, 1 / (step + 1)) for step in range(5)],
        files={"a.txt": b"a" * number},
        artifacts={f"model-{number}": {"weights": bytes([number % 256]) * 70_000, "empty": b""}},
    )


def source(faults: dict[str, Exception] | None = None, *, count: int = 3) -> MemorySource:
    return MemorySource(
        {"vision": [run(n) for n in range(count)], "text": [run(100, "text")]}, faults=faults or {}
    )


async def transfer(origin: MemorySource, target: MemoryDestination, options: Options | None = None) -> Result:
    async with Engine(origin, target, options) as engine:
        return await engine.run()


async def test_every_part_of_every_run_arrives():
    origin, target = source(), MemoryDestination()

    result = await transfer(origin, target)

    assert result.exit_status == 0
    assert (result.runs_found, result.runs_done, result.runs_failed) == (4, 4, 0)
    assert set(target.written) == {"r0", "r1", "r2", "r100"}
    for held in [held for runs in origin.contents.values() for held in runs]:
        written = target.written[held.run.id]
        assert written.history == held.history
        assert written.files == held.files
        assert written.artifacts == held.artifacts
        assert written.finished is True
    assert result.counters.points == 20


async def test_a_second_transfer_leaves_the_same_state():
    origin, target = source(), MemoryDestination()
    await transfer(origin, target)
    first = repr(target.written)

    await transfer(origin, target)

    assert repr(target.written) == first


@pytest.mark.parametrize("part", ["history", "files", "artifacts"])
async def test_a_part_can_be_left_out(part: str):
    target = MemoryDestination()
    chosen = {name: name != part for name in ("history", "files", "artifacts")}

    await transfer(
        source(),
        target,
        Options(history=chosen["history"], files=chosen["files"], artifacts=chosen["artifacts"]),
    )

    written = target.written["r1"]
    assert {name: bool(getattr(written, name)) for name in chosen} == chosen


async def test_the_selection_names_projects_and_limits_runs():
    target = MemoryDestination()

    result = await transfer(source(), target, Options(selection=Selection(projects=("vision",), limit=2)))

    assert result.runs_found == 2
    assert set(target.written) == {"r0", "r1"}


async def test_runs_that_are_named_and_not_there_are_told():
    target = MemoryDestination()
    result = await transfer(source(), target, Options(selection=Selection(ids=("r1", "r100", "nobody"))))
    assert set(target.written) == {"r1", "r100"}
    (failure,) = result.failures
    assert (failure.run, result.exit_status) == ("nobody", 1)
    assert "no run of this id" in failure.message


async def test_what_was_not_listed_to_its_end_may_have_the_run_that_is_named():
    broken = source({"runs:text": CommError("gone", side=Side.SOURCE)})
    for selection in (Selection(ids=("r1", "r100")), Selection(ids=("r1", "nobody"), limit=1)):
        result = await transfer(broken, MemoryDestination(), Options(selection=selection))
        assert [failure.run for failure in result.failures if failure.run] == []


async def test_an_unknown_project_is_refused_before_anything_is_written():
    target = MemoryDestination()

    with pytest.raises(ConfigError):
        await transfer(source(), target, Options(selection=Selection(projects=("nosuch",))))

    assert not target.written


async def test_remap_reaches_the_destination():
    target = MemoryDestination()

    await transfer(source(), target, Options(remap={"vision": "images"}))

    assert target.written["r1"].namespace == Namespace("me", "images")


@pytest.mark.parametrize(
    "subject", ["run:r1", "history:r1", "artifacts:r1", "read:weights"], ids=lambda s: s.split(":")[0]
)
async def test_what_cannot_be_read_fails_alone_with_its_cause(subject: str):
    target = MemoryDestination()
    broken = CommError("unreadable", side=Side.SOURCE, remedy="mend it")

    result = await transfer(source({subject: broken}), target, Options(concurrency=4))

    assert result.exit_status == 1
    failure = result.failures[0]
    assert failure.kind == "CommError"
    assert failure.side == "source"
    assert "mend it" in failure.message
    if subject != "read:weights":
        assert result.runs_done == 3
        assert "r1" in failure.subject
        assert target.written["r2"].finished is True
    if subject == "history:r1":
        assert target.written["r1"].artifacts, "other parts of the run still arrive"
        assert target.written["r1"].finished is False, "the run is not called complete"


@pytest.mark.parametrize("subject", ["open:r1", "history:r1", "artifact:model-1", "finish:r1"])
async def test_what_cannot_be_written_fails_alone_and_is_mended_by_a_second_run(subject: str):
    origin = source()
    target = MemoryDestination(faults={subject: Transient("reset", side=Side.DESTINATION)})

    result = await transfer(origin, target)
    assert (result.exit_status, result.runs_done, result.runs_failed) == (1, 3, 1)

    target.faults.clear()
    result = await transfer(origin, target)
    assert (result.exit_status, result.runs_done) == (0, 4)
    undisturbed = MemoryDestination()
    await transfer(origin, undisturbed)
    assert {k: repr(v) for k, v in target.written.items()} == {
        k: repr(v) for k, v in undisturbed.written.items()
    }


async def test_a_project_that_cannot_be_listed_does_not_stop_the_others():
    target = MemoryDestination()

    result = await transfer(source({"runs:vision": NotFound("gone", side=Side.SOURCE)}), target)

    assert result.exit_status == 1
    assert set(target.written) == {"r100"}


async def test_a_defect_in_one_item_is_reported_and_the_rest_goes_on(caplog: pytest.LogCaptureFixture):
    result = await transfer(source({"history:r1": ZeroDivisionError("oops")}), MemoryDestination())

    assert (result.runs_done, result.exit_status) == (3, 1)
    assert "ZeroDivisionError" in result.failures[0].message
    assert "history of run r1" in caplog.text


async def test_a_refused_key_stops_the_transfer():
    refused = AuthError("key revoked", side=Side.DESTINATION, status=401)
    target = MemoryDestination(faults={"open:r1": refused})

    with pytest.raises(AuthError, match="key revoked"):
        await transfer(source(count=50), target)


async def test_an_outage_stops_the_transfer():
    gone = Outage("not answering for 21600 s", side=Side.DESTINATION)
    target = MemoryDestination(faults={"open:r1": gone})

    with pytest.raises(Outage, match="not answering"):
        await transfer(source(count=50), target)


async def test_events_tell_the_whole_story_in_order():
    async with Engine(source({"history:r1": CommError("bad")}), MemoryDestination()) as engine:
        events = [event async for event in engine.events()]
        result = await engine.run()

    assert isinstance(events[0], Connected)
    assert isinstance(events[-1], Finished)
    assert events[-1].exit_status == result.exit_status == 1
    assert {e.run for e in events if isinstance(e, RunDone)} == {"r0", "r2", "r100"}
    assert [e.run for e in events if isinstance(e, ItemFailed)] == ["r1"]
    last = [e for e in events if isinstance(e, Progress)][-1]
    assert (last.runs_done, last.runs_failed, last.enumerating) == (3, 1, False)
    assert all(event.as_json()["type"] for event in events)


async def test_a_reader_of_events_may_leave_without_stopping_the_transfer():
    async with Engine(source(count=40), MemoryDestination()) as engine:
        async for _ in engine.events():
            break
        result = await engine.run()

    assert result.runs_done == 41


async def test_the_number_of_open_runs_is_bounded():
    target = MemoryDestination()

    await transfer(source(count=60), target, Options(open_runs=3))

    assert target.open_peak <= 3


async def test_drain_finishes_what_is_open_and_starts_nothing_else():
    target = MemoryDestination(gate=anyio.Event())
    async with Engine(source(count=60), target, Options(open_runs=4)) as engine:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.run)
            while target.open_now < 4:
                await anyio.lowlevel.checkpoint()
            engine.drain()
            assert target.gate is not None
            target.gate.set()
        result = engine.result

    assert result.exit_status == 130
    assert 4 <= result.runs_done < 60
    assert all(held.finished for held in target.written.values())


async def test_cancelling_stops_at_once_and_a_second_transfer_completes():
    target = MemoryDestination(gate=anyio.Event())
    origin = source(count=20)
    with anyio.CancelScope() as scope:
        async with Engine(origin, target) as engine, anyio.create_task_group() as tasks:
            tasks.start_soon(engine.run)
            while not target.open_now:
                await anyio.lowlevel.checkpoint()
            scope.cancel()
    assert scope.cancelled_caught
    assert engine.result.elapsed_s > 0

    target.gate = None
    result = await transfer(origin, target)
    assert result.runs_done == 21


async def test_the_spool_is_removed_at_the_end(tmp_path):
    async with Engine(source(), MemoryDestination(), Options(spool=tmp_path)) as engine:
        assert list(tmp_path.iterdir())
        await engine.run()
    assert not list(tmp_path.iterdir())


async def test_an_error_while_connecting_is_raised_as_itself():
    unreachable = MemorySource({}, faults={"open": Transient("cannot connect", side=Side.SOURCE)})

    with pytest.raises(EngineError, match="cannot connect"):
        async with Engine(unreachable, MemoryDestination()):
            pytest.fail("must not connect")


async def test_several_engines_share_an_event_loop():
    targets = [MemoryDestination() for _ in range(3)]
    async with anyio.create_task_group() as tasks:
        for target in targets:
            tasks.start_soon(transfer, source(), target)
    assert all(len(target.written) == 4 for target in targets)


def test_exit_status_names_the_worst_that_happened():
    result = Result()
    assert result.exit_status == 0
    result.failure_count = 1
    assert result.exit_status == 1
    result.interrupted = True
    assert result.exit_status == 130


class LosingSource(MemorySource):
    """Loses something with every history, in a worker thread."""

    async def history(self, run: Run) -> AsyncGenerator[HistoryChunk]:
        await anyio.to_thread.run_sync(self._context.lose, "odd", f"run {run.id}", "in a thread")
        async with aclosing(super().history(run)) as chunks:
            async for chunk in chunks:
                yield chunk


async def test_a_loss_may_be_recorded_in_a_thread_and_is_told_before_the_end():
    async with Engine(LosingSource({"vision": [run(n) for n in range(3)]}), MemoryDestination()) as engine:
        events = [event async for event in engine.events()]
        result = await engine.run()

    assert result.failures == []
    assert result.losses["odd"] == 3
    told = [event.loss.kind for event in events if isinstance(event, LossRecorded)]
    assert told == ["odd"]
    assert isinstance(events[-1], Finished)
