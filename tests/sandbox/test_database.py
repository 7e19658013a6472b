"""Transactions, and what waits for their commit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.sandbox import areas  # noqa: F401 - registers the tables
from engine.sandbox.database import Database


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = Database(tmp_path / "records.sqlite")
    yield db
    db.close()


def test_an_action_runs_once_after_the_outermost_commit(db: Database, tmp_path: Path) -> None:
    seen: list[int] = []
    other = Database(tmp_path / "records.sqlite")
    with db.transaction():
        with db.transaction():
            db.execute("INSERT INTO entities VALUES (1, 'lab', 1, 0)")
            db.after_commit(lambda: seen.append(other.value("SELECT count(*) FROM entities")))
        assert seen == []
    with db.transaction():
        pass
    other.close()
    assert seen == [1]


def test_no_action_runs_after_a_rollback(db: Database) -> None:
    done: list[str] = []

    def refused() -> None:
        with db.transaction():
            db.after_commit(lambda: done.append("rolled back"))
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        refused()
    with db.transaction():
        db.after_commit(lambda: done.append("committed"))
    assert done == ["committed"]


def test_an_action_that_fails_undoes_nothing(db: Database) -> None:
    def fail() -> None:
        raise OSError("disk")

    def insert() -> None:
        with db.transaction():
            db.execute("INSERT INTO entities VALUES (1, 'lab', 1, 0)")
            db.after_commit(fail)

    with pytest.raises(OSError, match="disk"):
        insert()
    assert db.value("SELECT name FROM entities") == "lab"
