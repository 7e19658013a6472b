"""What a ledger tells of its migrations: by project, in total, and why things failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.transfer.ledger.causes import LONGEST, normalised
from engine.transfer.ledger.items import Cause, Item, Kind, State
from engine.transfer.ledger.status import EXAMPLES, MigrationStatus, status_of
from engine.transfer.ledger.store import Store, sqlite_url


def status(tmp_path: Path, *items: Item) -> MigrationStatus:
    store = Store(sqlite_url(tmp_path / "ledger.sqlite"))
    store.write(store.migration("a:", "b:"), items)
    [found] = status_of(store)
    store.close()
    return found


def failed(run: str, message: str, side: str = "source", kind: str = "CommError") -> Item:
    cause = Cause(kind=kind, side=side, message=message)
    return Item(kind=Kind.HISTORY, project="p", run=run, state=State.FAILED, cause=cause)


def test_totals_are_told_for_each_project_and_for_all(tmp_path):
    found = status(
        tmp_path,
        Item(kind=Kind.HISTORY, project="a", run="1", state=State.DONE, destination="e/x", points=5),
        Item(kind=Kind.FILES, project="a", run="1", state=State.DONE, destination="e/x", files=2, bytes=7),
        Item(kind=Kind.HISTORY, project="b", run="2", state=State.DONE, destination="e/y", points=11),
        Item(kind=Kind.HISTORY_RANGE, project="b", run="2", state=State.DONE, destination="e/y", points=99),
    )
    assert (found.totals.points, found.totals.files, found.totals.bytes) == (16, 2, 7)
    told = [(one.project, one.destination, one.totals.points) for one in found.projects]
    assert told == [("a", "e/x", 5), ("b", "e/y", 11)]
    assert found.counts == {Kind.HISTORY: {State.DONE: 2}, Kind.FILES: {State.DONE: 1}}
    assert not found.unfinished


def test_failures_that_differ_in_names_and_numbers_have_one_cause(tmp_path):
    found = status(
        tmp_path,
        *(failed(f"r{n}", f"HTTP 404: run 4f1c9d00a1b{n} is gone at step {n}") for n in range(12)),
        failed("x", "HTTP 500: run 4f1c9d00a1b2 is gone at step 7"),
        failed("y", "HTTP 404: run 4f1c9d00a1b2 is gone at step 7", side="destination"),
        failed("z", "HTTP 404: run 4f1c9d00a1b2 is gone at step 7", kind="NotFound"),
    )
    first, *others = found.failures
    assert (first.count, first.pattern) == (12, "HTTP 404: run … is gone at step …")
    assert len(first.examples) == EXAMPLES
    assert "at step" in first.examples[0].message
    assert [one.count for one in others] == [1, 1, 1]
    assert found.causes == 4
    assert found.unfinished


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("HTTP 503: try later", "HTTP 503: try later"),
        ("no space: 12 of 345 bytes at /var/lib/x/y.db", "no space: … of … bytes at …"),
        ("GET failed: https://u:p@host/x?y=1 timed out", "GET failed: … timed out"),
        ("key 'loss/a' is too long (300 > 255)", "key … is too long (… > …)"),
        ("artifact model-12 is missing", "artifact … is missing"),
        ("the artifacts are kept elsewhere", "the artifacts are kept elsewhere"),
        ("two\n lines", "two lines"),
    ],
)
def test_what_belongs_to_one_item_is_left_out(message, pattern):
    assert normalised(message) == pattern


def test_a_message_without_end_is_told_apart_by_its_beginning():
    assert len(normalised("word " * 10**6)) <= LONGEST
