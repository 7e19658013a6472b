"""A plan tells what a transfer would do, whatever the systems on its two sides are."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from engine.errors import AuthError, CommError, ConfigError, EngineError, Outage, Side
from engine.records import HistorySize, Namespace, Run, RunState, Selection
from engine.transfer.engine import Engine
from engine.transfer.options import Options
from engine.transfer.planning.plan import Amount, Plan
from tests.memory import MemoryDestination, MemoryRun, MemorySource

pytestmark = pytest.mark.anyio


def run(number: int, project: str = "vision", state: RunState = RunState.FINISHED) -> MemoryRun:
    return MemoryRun(
        Run(id=f"r{number}", namespace=Namespace("", project), started_at=number, state=state),
        history=[("loss", step, 1_000 + step, 0.5) for step in range(5)],
        files={"a.txt": b"a" * number},
        artifacts={f"model-{number}": {"weights": b"w" * 1_000, "empty": b""}},
    )


def source(faults: dict[str, Exception] | None = None) -> MemorySource:
    return MemorySource({"vision": [run(n) for n in range(1, 4)], "text": [run(9, "text")]}, faults or {})


@dataclass
class Counting(MemorySource):
    """A source that has a count."""

    asked: list[list[str]] = field(default_factory=list)

    async def history_sizes(self, runs: list[Run]) -> dict[str, HistorySize]:
        self.asked.append([run.id for run in runs])
        for one in runs:
            if (error := self.faults.get(f"size:{one.id}")) is not None:
                raise error
        return {run.id: HistorySize(points=100, rows=50) for run in runs}


async def planned(
    origin: MemorySource,
    place: MemoryDestination | None = None,
    options: Options | None = None,
    *,
    sample: int | None = None,
) -> Plan:
    place = place or MemoryDestination()
    before = repr(place.written)
    plan = await Engine(origin, place, options).plan(sample=sample)
    assert repr(place.written) == before
    return plan


async def test_everything_that_is_there_is_counted():
    plan = await planned(source())

    assert (plan.runs_found, plan.runs_to_move, plan.runs_arrived) == (4, 4, 0)
    assert plan.points == Amount(20)
    assert plan.files == Amount(4)
    assert (plan.artifacts, plan.artifact_files) == (Amount(4), Amount(8))
    assert plan.bytes == Amount(1 + 2 + 3 + 9 + 4 * 1_000)
    assert (plan.largest_bytes, plan.largest_file) == (1_000, "weights")
    assert {(project.source, project.runs) for project in plan.projects} == {("vision", 3), ("text", 1)}
    assert 0 < plan.duration.low_s < plan.duration.high_s


async def test_it_is_what_the_transfer_then_moves():
    plan = await planned(source())

    async with Engine(source(), MemoryDestination()) as engine:
        result = await engine.run()

    counters = result.counters
    assert (plan.points.about, plan.bytes.about) == (counters.points, counters.bytes)
    assert plan.files.about + plan.artifact_files.about == counters.files
    assert plan.runs_to_move == result.runs_done


async def test_runs_that_are_named_and_not_there_are_foreseen():
    plan = await planned(source(), options=Options(selection=Selection(ids=("r1", "nobody"))))
    assert plan.runs_found == 1
    assert [cause.example for cause in plan.failures] == ["run nobody"]


async def test_the_limit_holds_over_all_projects():
    plan = await planned(source(), options=Options(selection=Selection(limit=2)))

    assert (plan.runs_found, plan.points.about) == (2, 10)


@pytest.mark.parametrize(
    ("left_out", "amounts"),
    [("history", (0, 4, 8)), ("files", (20, 0, 8)), ("artifacts", (20, 4, 0))],
)
async def test_parts_that_are_left_out_are_not_counted(left_out: str, amounts: tuple[int, int, int]):
    parts = {part: part != left_out for part in ("history", "files", "artifacts")}

    plan = await planned(source(), options=Options(**parts))  # type: ignore[arg-type]

    assert (plan.points.about, plan.files.about, plan.artifact_files.about) == amounts
    assert any(left_out in sentence for sentence in plan.basis)


async def test_runs_that_go_on_are_told_apart():
    origin = MemorySource({"vision": [run(1), run(2, state=RunState.RUNNING)]})

    assert (await planned(origin)).runs_live == 1


# -- after an earlier transfer -------------------------------------------------------------------


async def test_what_the_ledger_proves_is_left_out(tmp_path: Path):
    options, place = Options(state_dir=tmp_path), MemoryDestination()
    async with Engine(source(), place, options) as engine:
        await engine.run()
    more = source()
    more.contents["vision"].append(run(4))

    plan = await planned(more, place, options)

    assert (plan.runs_found, plan.runs_arrived, plan.runs_to_move, plan.points.about) == (5, 4, 1, 5)


async def test_everything_counts_if_nothing_is_to_be_left_out(tmp_path: Path):
    options, place = Options(state_dir=tmp_path), MemoryDestination()
    async with Engine(source(), place, options) as engine:
        await engine.run()

    plan = await planned(source(), place, replace(options, incremental=False))

    assert (plan.runs_arrived, plan.runs_to_move) == (0, 4)


async def test_changed_artifacts_count_if_they_are_looked_at(tmp_path: Path):
    options, place = Options(state_dir=tmp_path), MemoryDestination()
    async with Engine(source(), place, options) as engine:
        await engine.run()
    changed = source()
    changed.contents["vision"][0].artifacts["model-1"]["new"] = b"n"

    assert (await planned(changed, place, options)).runs_to_move == 0
    plan = await planned(changed, place, replace(options, recheck_artifacts=True))

    assert (plan.runs_to_move, plan.artifacts.about, plan.artifact_files.about) == (1, 1, 3)
    assert plan.points.about == 0, "the history is there"


async def test_a_plan_can_be_made_while_a_transfer_holds_the_ledger(tmp_path: Path):
    options, place = Options(state_dir=tmp_path), MemoryDestination()

    async with Engine(source(), place, options):
        assert (await planned(source(), place, options)).runs_to_move == 4


async def test_a_plan_leaves_no_state_behind(tmp_path: Path):
    await planned(source(), options=Options(state_dir=tmp_path / "state", spool=tmp_path))

    assert not list(tmp_path.iterdir())


# -- what cannot be read -------------------------------------------------------------------------


@pytest.mark.parametrize("subject", ["run:r1", "history:r1", "artifacts:r1", "runs:vision"])
async def test_what_cannot_be_read_is_foreseen_with_its_cause(subject: str):
    broken = CommError("unreadable", side=Side.SOURCE, remedy="mend it")

    plan = await planned(source({subject: broken}))

    (failure,) = plan.failures
    assert (failure.problem.message, failure.problem.remedy, failure.count) == ("unreadable", "mend it", 1)
    assert plan.points.about == {"runs:vision": 5}.get(subject, 15 if subject != "artifacts:r1" else 20)


async def test_failures_of_one_cause_are_counted_together():
    broken = CommError("unreadable", side=Side.SOURCE)

    plan = await planned(source({f"history:r{n}": broken for n in (1, 2, 9)}))

    assert [(failure.count, failure.example) for failure in plan.failures] == [(3, "history of run r1")]


async def test_a_defect_is_not_taken_for_a_failure_of_the_source():
    with pytest.raises(ValueError, match="a defect"):
        await planned(source({"run:r1": ValueError("a defect")}))


@pytest.mark.parametrize("subject", ["run:r1", "history:r1"])
@pytest.mark.parametrize("error", [AuthError("revoked", status=401), Outage("gone for good")])
async def test_what_makes_all_the_rest_fail_ends_the_plan(subject: str, error: EngineError):
    with pytest.raises(type(error)) as raised:
        await planned(source({subject: error}))

    assert raised.value is error


async def test_what_stands_in_the_way_of_a_transfer_stands_in_the_way_of_its_plan():
    with pytest.raises(ConfigError, match="nosuch"):
        await planned(source(), options=Options(selection=Selection(projects=("nosuch",))))


# -- counting ------------------------------------------------------------------------------------


async def test_a_source_that_has_a_count_is_not_read():
    origin = Counting({"vision": [run(n) for n in range(40)]})

    plan = await planned(origin)

    assert (plan.points, plan.rows.about) == (Amount(4_000), 2_000)
    assert sorted(run_id for batch in origin.asked for run_id in batch) == sorted(f"r{n}" for n in range(40))
    assert max(map(len, origin.asked)) > 1, "several are counted at once"


async def test_one_history_that_cannot_be_counted_does_not_hide_the_others():
    origin = Counting({"vision": [run(n) for n in range(10)]}, {"size:r3": CommError("bad rows")})

    plan = await planned(origin)

    assert plan.points.about == 900
    assert [failure.example for failure in plan.failures] == ["history of run r3"]


async def test_a_sample_stands_for_all_and_says_so():
    origin = Counting({"vision": [run(n) for n in range(300)]})

    plan = await planned(origin, sample=20)

    assert sum(map(len, origin.asked)) == 20
    assert (plan.runs_to_move, plan.sampled) == (300, 20)
    assert plan.points == Amount(30_000, exact=False)
    assert plan.artifacts == Amount(300, exact=False)
    assert any("20 runs were looked at" in sentence for sentence in plan.basis)


async def test_a_sample_that_is_larger_than_all_is_everything():
    plan = await planned(source(), sample=100)

    assert (plan.sampled, plan.points) == (None, Amount(20))


async def test_a_plan_is_plain_json():
    plan = await planned(source({"run:r1": CommError("unreadable")}))

    assert json.loads(json.dumps(plan.as_json()))["points"] == {"about": 15, "exact": True, "margin": 0}


async def test_a_limit_on_bandwidth_or_requests_makes_it_longer():
    quick = (await planned(source())).duration
    slow = (await planned(source(), options=Options(bandwidth=100))).duration

    assert slow.low_s > quick.low_s + 30
    assert slow.high_s > slow.low_s
