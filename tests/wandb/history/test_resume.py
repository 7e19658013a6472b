"""A history that the server has a part of: only what it lacks is sent, and what arrives is the same."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import wandb

from engine.errors import Transient
from engine.records import HistoryChunk, Namespace, Run, RunState
from engine.transfer.context import Context
from engine.transfer.ledger.ledger import open_ledger
from engine.transfer.ledger.memos import Memos
from engine.transfer.ledger.schema import Kind
from engine.wandb.history.points import PointStore
from engine.wandb.history.resume import FAR, LEAST_DIGESTS, MOST_DIGESTS, Beginnings, SentRows, beginnings_of
from engine.wandb.history.rows import RowEncoder, layout_of
from tests.memory import Point
from tests.servers import RunningSandbox
from tests.wandb.conftest import Opened
from tests.wandb.making import START, a_run, chunks, wide

pytestmark = pytest.mark.anyio

LIVE = a_run(state=RunState.RUNNING, ended_at=None)


class Moved(NamedTuple):
    """What one transfer sent."""

    rows: int
    rows_again: int
    points: int
    requests: int


Move = Callable[..., Awaitable[Moved]]


@pytest.fixture(autouse=True)
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.wandb.history.filestream.REQUEST_LIMIT", 2_000)
    monkeypatch.setattr("engine.wandb.history.filestream.KEEP_BACK", 500)


@pytest.fixture
def move(opened: Opened, context: Context, tmp_path: Path) -> Move:
    """One transfer of a run with the ledger of those before; ``breaks_after`` points the source is gone."""

    async def move(
        history: list[Point],
        run: Run = LIVE,
        *,
        incremental: bool = True,
        breaks_after: int | None = None,
        rows: list[dict[str, Any]] | None = None,
    ) -> Moved:
        before = replace(context.counters)
        async with (
            open_ledger("a:", "b:", state_dir=tmp_path / "state", scratch=tmp_path) as ledger,
            opened() as (destination, namespace),
        ):
            context.memos = Memos(ledger, reads=incremental)
            writer = await destination.open_run(run, namespace)
            asked = context.counters.requests
            given = wide(rows) if rows is not None else chunks(history)
            if breaks_after is None:
                await writer.write_history(given)
                await writer.finish()
            else:
                with pytest.raises(Transient, match="gone"):
                    await writer.write_history(breaking(rows or [], breaks_after))
        after = context.counters
        return Moved(
            after.rows - before.rows,
            after.rows_again - before.rows_again,
            after.points - before.points,
            after.requests - asked,
        )

    return move


async def breaking(rows: list[dict[str, Any]], after: int) -> AsyncIterator[HistoryChunk]:
    async for chunk in wide(rows[:after]):
        yield chunk
    raise Transient("gone")


@pytest.fixture
def lines(sandbox: RunningSandbox, request: pytest.FixtureRequest) -> Callable[[], list[str]]:
    """The lines that the server has of the run, in their order and without a gap."""

    def read() -> list[str]:
        with closing(sqlite3.connect(sandbox.data_dir / "records.sqlite")) as database:
            found = database.execute(_LINES, (request.node.name[:100],)).fetchall()
        assert [number for number, _ in found] == list(range(len(found)))
        return [row for _, row in found]

    return read


_LINES = """SELECT line, row FROM history h JOIN runs r ON r.number = h.run
JOIN projects p ON p.number = r.project WHERE p.name = ? ORDER BY line"""


def curve(first: int, last: int, *keys: str) -> list[Point]:
    return [(key, step, START + 1_000 * step, step / 7) for step in range(first, last) for key in keys]


def rows_of(first: int, last: int) -> list[dict[str, Any]]:
    return [{"_step": step, "loss": step / 7, "note": "x" * 60} for step in range(first, last)]


async def test_a_live_run_that_grew_gets_its_new_rows_only(
    move: Move, lines: Callable[[], list[str]], api: wandb.Api, request: pytest.FixtureRequest
):
    first = await move(curve(0, 300, "loss", "acc"))
    assert (first.rows, first.points) == (300, 600)

    second = await move(curve(0, 310, "loss", "acc"))

    assert second == Moved(rows=10, rows_again=0, points=20, requests=second.requests)
    assert second.requests < first.requests / 4
    assert len(lines()) == 310
    read = api.run(f"rehearsal/{request.node.name[:100]}/{LIVE.id}")
    assert [row["_step"] for row in read.scan_history()] == list(range(310))
    assert read.summary["acc"] == 309 / 7


async def test_a_live_run_that_did_not_grow_gets_no_row(move: Move, lines: Callable[[], list[str]]):
    await move(curve(0, 300, "loss"))
    assert (await move(curve(0, 300, "loss"))).rows == 0
    assert len(lines()) == 300


async def test_a_run_that_ends_gets_the_rows_since_the_last_time(move: Move, lines: Callable[[], list[str]]):
    await move(curve(0, 40, "loss"))
    assert (await move(curve(0, 50, "loss"), a_run())).rows == 10
    assert len(lines()) == 50


async def test_a_history_that_broke_off_goes_on_from_the_last_acknowledged_row(
    move: Move, lines: Callable[[], list[str]]
):
    rows = rows_of(0, 400)
    await move([], rows=rows, breaks_after=200)
    acknowledged = len(lines())
    assert 100 < acknowledged < 200, "the last request was never sent"

    again = await move([], a_run(), rows=rows)

    assert (again.rows, again.rows_again) == (400 - acknowledged, 0)
    assert len(lines()) == 400


@pytest.mark.parametrize("late", [0, 57, 298])
async def test_a_point_that_came_late_changes_its_row_and_what_is_behind_is_sent_again(
    move: Move, lines: Callable[[], list[str]], late: int
):
    history = curve(0, 300, "loss")
    await move(history)

    later = [*history, ("val", late, START + 400_000, 0.5), *curve(300, 305, "loss")]
    moved = await move(later)

    assert moved.rows_again == moved.rows - 5
    assert 300 - late <= moved.rows_again < 300 - late + 2 * 300 / LEAST_DIGESTS
    assert lines() == await encoded(later)


async def test_a_step_that_was_not_complete_costs_a_few_rows(move: Move, lines: Callable[[], list[str]]):
    history = curve(0, 300, "loss", "acc")
    await move(history[:-1])
    assert (await move(history)).rows <= 1 + 2 * 300 / LEAST_DIGESTS
    assert lines() == await encoded(history)


async def test_a_history_that_takes_another_shape_is_sent_whole(move: Move, lines: Callable[[], list[str]]):
    """A second value on a step numbers all rows anew, so that none is as it was."""
    history = curve(0, 100, "loss")
    await move(history)
    later = [*history, ("loss", 90, START + 91_000, 0.5)]
    moved = await move(later)
    assert (moved.rows, moved.rows_again) == (101, 100)
    assert lines() == await encoded(later)


async def test_rows_that_the_server_does_not_have_any_more_are_sent(
    move: Move, lines: Callable[[], list[str]], sandbox: RunningSandbox, request: pytest.FixtureRequest
):
    await move(curve(0, 100, "loss"))
    with closing(sqlite3.connect(sandbox.data_dir / "records.sqlite")) as database, database:
        database.execute(
            "DELETE FROM history WHERE line >= 60 AND run IN (SELECT r.number FROM runs r "
            "JOIN projects p ON p.number = r.project WHERE p.name = ?)",
            (request.node.name[:100],),
        )
    assert (await move(curve(0, 100, "loss"))).rows == 40
    assert len(lines()) == 100


async def test_without_proof_all_rows_are_sent_to_the_same_places(move: Move, lines: Callable[[], list[str]]):
    await move(curve(0, 100, "loss"))
    moved = await move(curve(0, 110, "loss"), incremental=False)
    assert (moved.rows, moved.rows_again) == (110, 100)
    assert len(lines()) == 110
    assert (await move(curve(0, 111, "loss"))).rows == 1


async def test_what_was_proven_is_no_proof_after_others_wrote_over_it(
    move: Move, lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
):
    """A change is broken off before the ledger hears of it, and taken back: none of its rows stays."""
    before, changed = rows_of(0, 300), [{**row, "loss": -1.0} for row in rows_of(0, 300)]
    await move([], rows=before)
    expected = lines()
    with monkeypatch.context() as patch:
        patch.setattr(SentRows, "remember", _too_late)
        await move([], rows=changed, breaks_after=150)
    assert lines() != expected

    await move([], rows=before)

    assert lines() == expected


async def _too_late(_sent: SentRows) -> None:
    pass


@pytest.mark.parametrize("seed", range(6))
async def test_however_a_history_grows_and_breaks_off_it_ends_as_if_sent_at_once(
    move: Move, lines: Callable[[], list[str]], seed: int
):
    draw = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for _ in range(8):
        rows = rows + rows_of(len(rows), len(rows) + draw.randrange(90))
        if rows and draw.random() < 0.4:
            late = draw.randrange(len(rows))
            rows[late] = {**rows[late], "late": draw.random()}
        breaks_after = draw.randrange(len(rows) + 1) if draw.random() < 0.5 else None
        await move([], rows=rows, breaks_after=breaks_after)
    moved = await move([], rows=rows)
    assert moved.rows <= len(rows)
    stored = lines()
    assert (await move([], rows=rows, incremental=False)).rows == len(rows)
    assert lines() == stored
    assert (await move([], rows=rows)).rows == 0


async def encoded(history: list[Point]) -> list[str]:
    """The lines of a history, encoded at once."""
    with PointStore(Path("nowhere")) as store:
        async for chunk in chunks(history):
            store.add(chunk.batch)  # type: ignore[union-attr]
        encoder = RowEncoder(store, layout_of(store, "mlflow"), START)
        return [line for window in encoder.lines() for line in window.lines]


@asynccontextmanager
async def a_ledger(directory: Path, namespace: Namespace) -> AsyncIterator[Any]:
    async with open_ledger("a:", "b:", state_dir=directory, scratch=directory) as ledger:
        yield Memos(ledger).of(LIVE, namespace)


async def test_nothing_is_remembered_of_a_run_that_was_over_at_once(
    move: Move, tmp_path: Path, request: pytest.FixtureRequest
):
    await move(curve(0, 5, "loss"), a_run())
    async with a_ledger(tmp_path / "state", Namespace("rehearsal", request.node.name[:100])) as memos:
        assert await memos.find(Kind.HISTORY_RANGE) == {}


def test_what_is_remembered_stays_small_and_near_any_row():
    begun, rest = Beginnings(), [f'{{"_step":{step}}}' for step in range(100_000)]
    begun.add(rest[:33_333])
    begun.add(rest[33_333:])
    marks = [0, *beginnings_of(begun.memo())]
    assert len(marks) <= 2 * LEAST_DIGESTS + 1
    assert marks[-1] == 100_000
    assert max(b - a for a, b in pairwise(marks)) <= 100_000 / LEAST_DIGESTS


async def test_of_lines_that_fill_many_requests_none_is_sent_again(
    move: Move, lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
):
    """Digests must not lie farther apart than what is held back until they are compared."""
    monkeypatch.setattr("engine.wandb.history.resume.LEAST_DIGESTS", 4)
    monkeypatch.setattr("engine.wandb.history.resume.FAR", 800)
    await move([], rows=rows_of(0, 600))
    assert (await move([], rows=rows_of(0, 603))).rows <= 3 + 800 // 100
    assert len(lines()) == 603


def test_one_long_line_does_not_make_a_memo_long():
    begun = Beginnings()
    begun.add(["x" * FAR, *map(str, range(20_000))])
    assert len(begun.memo()["digests"]) <= MOST_DIGESTS


def test_digests_do_not_depend_on_how_lines_come():
    lines = [str(number) for number in range(1_000)]
    at_once, one_by_one = Beginnings(), Beginnings()
    at_once.add(lines)
    for line in lines:
        one_by_one.add([line])
    assert at_once.memo() == one_by_one.memo()
    assert Beginnings().digest_with(lines) == at_once.memo()["digest"]
