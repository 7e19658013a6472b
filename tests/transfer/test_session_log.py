"""A session log tells what happened over time, whatever the length, and whatever became of the process."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.dashboard.sessions import read_sessions, session_of
from engine.errors import AuthError, Outage, Side
from engine.records import Loss, Namespace, Run
from engine.transfer.engine import Engine
from engine.transfer.events import Finished, ItemFailed, LossRecorded, Progress
from engine.transfer.options import Options, Result
from engine.transfer.session_log import (
    LIMIT,
    LOGS,
    RECENT_S,
    SESSIONS,
    THROTTLES,
    Began,
    SessionLog,
    log_paths,
    session_log,
)
from engine.transfer.throttling.throttle import Endpoint, ThrottleState
from tests.memory import MemoryDestination, MemoryRun, MemorySource

pytestmark = pytest.mark.anyio

WEEK_S = 7 * 86_400


def throttle(number: int, sent: int = 10) -> ThrottleState:
    return ThrottleState(
        host=f"shard-{number}.objects.example.com:443",
        endpoint=Endpoint.OBJECTS,
        rate=123.456789,
        slots=32,
        in_flight=7,
        sent=sent,
        rejected=1,
        round_trip_s=0.0123456,
        down_s=None,
    )


def progress(elapsed_s: float, points: int = 0, throttles: int = 3, **facts) -> Progress:
    nothing = {"runs_found": 1, "runs_done": 0, "runs_failed": 0, "files": 0, "bytes": 0, "requests": 0}
    return Progress(
        at=1_700_000_000 + elapsed_s,
        elapsed_s=elapsed_s,
        enumerating=False,
        points=points,
        throttles=tuple(throttle(n) for n in range(throttles)),
        **{**nothing, **facts},
    )


def finished(**facts) -> Finished:
    nothing = {"runs_done": 1, "runs_failed": 0, "failures": 0, "points": 0, "files": 0, "bytes": 0}
    return Finished(requests=0, elapsed_s=1.0, exit_status=0, losses={}, **{**nothing, **facts})


def began(at: float = 1_700_000_000.0) -> Began:
    return Began(at=at, source="a:", destination="b:", version="1", pid=1, host="h")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


# -- bounded -------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    gaps=st.lists(st.floats(0.1, 900.0), min_size=1, max_size=200),
    hosts=st.integers(0, 60),
    limit=st.integers(30_000, 100_000),
)
def test_a_log_is_never_larger_than_its_limit_and_loses_no_amount(gaps, hosts, limit):
    with TemporaryDirectory() as directory:
        path = Path(directory) / "log.jsonl"
        log = SessionLog(limit=limit)
        log.see(began())
        log.open(path)
        elapsed_s, seen = 0.0, []
        for number, gap in enumerate(gaps):
            elapsed_s += gap
            seen.append(elapsed_s)
            log.see(progress(elapsed_s, points=number, throttles=hosts))
            assert path.stat().st_size <= limit
        log.see(finished())
        log.close()
        assert path.stat().st_size <= limit
        read = session_of(lines(path))

    assert read is not None
    assert read.last.points == len(gaps) - 1
    assert read.samples[0].elapsed_s == pytest.approx(seen[0], abs=0.001)
    assert all(len(sample.throttles) <= THROTTLES for sample in read.samples)
    points = [sample.points for sample in read.samples]
    assert points == sorted(points)
    assert read.exit_status == 0


def test_a_week_of_samples_stays_below_a_megabyte_evenly_spread_and_the_last_minutes_whole(tmp_path):
    path = tmp_path / "log.jsonl"
    log = SessionLog()
    log.open(path)
    step = 60.0  # a test need not feed each second
    for number in range(int(WEEK_S / step)):
        log.see(progress(number * step, points=number))
    log.close()

    assert path.stat().st_size <= LIMIT < 1_000_000
    elapsed = [sample.elapsed_s for sample in log.samples]
    gaps = [later - earlier for earlier, later in pairwise(elapsed)]
    old = [gap for gap, at in zip(gaps, elapsed[1:], strict=True) if at < WEEK_S / 2]
    assert max(old) <= 4 * min(old) <= WEEK_S / 100
    assert gaps[-1] == step
    assert sum(at > elapsed[-1] - RECENT_S for at in elapsed) >= RECENT_S / step


def test_a_second_has_one_sample_but_the_last_word_counts():
    log = SessionLog()
    for number in range(11):
        log.see(progress(number / 4, points=number))
    log.see(finished())
    assert [sample.elapsed_s for sample in log.samples] == [0.0, 1.0, 2.0, 2.5]


def test_texts_and_lists_without_end_do_not_fill_the_log(tmp_path):
    log = SessionLog()
    log.open(tmp_path / "log.jsonl")
    for number in range(1_000):
        log.see(LossRecorded(loss=Loss(kind=f"kind {number}", subject="x" * 10**6, detail="y" * 10**6)))
    log.see(progress(1.0, waiting=tuple("z" * 10**6 for _ in range(1_000))))
    log.close()
    assert (tmp_path / "log.jsonl").stat().st_size < LIMIT
    assert len(lines(tmp_path / "log.jsonl")) == 201


def test_the_busiest_throttles_are_told_if_there_are_too_many():
    states = tuple(throttle(n, sent=n) for n in range(3 * THROTTLES))
    log = SessionLog()
    log.see(replace(progress(1.0), throttles=states))
    [sample] = log.samples
    assert min(state.sent for state in sample.throttles) == 2 * THROTTLES


def test_only_the_newest_logs_are_kept(tmp_path):
    for number in range(LOGS + 5):
        with session_log(tmp_path, began(1_700_000_000.0 + number)):
            pass
    names = [path.name for path in log_paths(tmp_path)]
    assert len(names) == LOGS
    assert read_sessions(tmp_path)[-1].began_at == 1_700_000_000.0 + LOGS + 4


# -- what may happen to it -----------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 1.0))
def test_a_log_that_was_cut_off_anywhere_tells_all_that_is_whole(share):
    with TemporaryDirectory() as directory:
        with session_log(Path(directory), began()) as log:
            for number in range(5):
                log.see(progress(float(number + 1), points=number))
            log.see(finished())
        [path] = log_paths(Path(directory))
        whole = path.read_bytes()
        cut = round(share * len(whole))
        path.write_bytes(whole[:cut])
        sessions = read_sessions(Path(directory))
    complete = whole[:cut].count(b"\n")
    # A line that only lacks its end is whole, too.
    assert len(sessions) in {min(1, complete), min(1, complete + 1)}
    if sessions:
        assert len(sessions[0].samples) in {min(5, max(0, complete + n - 1)) for n in (0, 1)}


def test_a_directory_that_cannot_be_written_stops_nothing(tmp_path, caplog):
    (tmp_path / SESSIONS).touch()
    with session_log(tmp_path, began()) as log:
        log.see(progress(1.0))
        assert len(log.samples) == 1
    assert "cannot be written" in caplog.text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk at hand")
def test_a_disk_that_is_full_stops_nothing(caplog):
    log = SessionLog()
    log.see(began())
    log.open(Path("/dev/full"))
    log.see(progress(1.0))
    log.see(progress(2.0))
    log.close()
    assert caplog.text.count("cannot be written: No space left on device") == 1
    assert len(log.samples) == 2


# -- of a transfer -------------------------------------------------------------------------------


def source(faults: dict[str, Exception] | None = None) -> MemorySource:
    run = Run(id="r1", namespace=Namespace("", "vision"), started_at=1)
    return MemorySource({"vision": [MemoryRun(run, history=[("loss", 0, 1, 0.5)])]}, faults=faults or {})


async def transfer(
    state_dir: Path | None, origin: MemorySource | None = None, command: str | None = None
) -> Result:
    options = Options(state_dir=state_dir, command=command)
    async with Engine(origin or source(), MemoryDestination(), options) as engine:
        return await engine.run()


async def test_a_transfer_leaves_a_log_of_its_beginning_its_progress_and_its_end(tmp_path):
    result = await transfer(tmp_path, command="engine migrate a b")

    [path] = log_paths(tmp_path)
    told = lines(path)
    assert [kind for kind, _ in groupby(line["type"] for line in told)] == [
        "began",
        "connected",
        "progress",
        "finished",
    ]
    [session] = read_sessions(tmp_path)
    assert (session.source, session.command) == ("memory:source", "engine migrate a b")
    assert (session.last.points, session.exit_status, session.running) == (1, 0, False)
    assert result.samples[-1].points == 1


async def test_without_a_state_directory_only_the_result_tells():
    result = await transfer(None)
    assert result.samples[-1].runs_done == 1


async def test_what_stopped_a_transfer_before_it_began_is_told(tmp_path):
    refused = AuthError("the key is wrong", side=Side.SOURCE)
    with pytest.raises(AuthError):
        await transfer(tmp_path, source({"open": refused}))
    [session] = read_sessions(tmp_path)
    assert "the key is wrong" in (session.error or "")
    assert session.ended_at is not None


async def test_a_transfer_that_was_left_early_has_an_end_without_a_status(tmp_path):
    target = MemoryDestination(gate=anyio.Event())
    async with Engine(source(), target, Options(state_dir=tmp_path)) as engine:
        with anyio.move_on_after(0.1):
            await engine.run()
    [session] = read_sessions(tmp_path)
    assert session.ended_at is not None
    assert session.exit_status is None
    assert session.end_in_words == "stopped at once"


def test_items_are_left_to_the_ledger_but_what_stopped_all_is_told(tmp_path):
    gone = Outage("gone", side=Side.SOURCE)
    with session_log(tmp_path, began()) as log:
        for item in ("run", "transfer"):
            log.see(ItemFailed.of(item, "s", gone))
    [path] = log_paths(tmp_path)
    assert [line.get("item") for line in lines(path)] == [None, "transfer", None]
    assert read_sessions(tmp_path)[0].error == "source: gone"
