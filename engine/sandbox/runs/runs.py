"""Runs: their records, how they are found, and what state they are in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.sandbox import clock
from engine.sandbox.accounts import accounts
from engine.sandbox.accounts.accounts import Entity
from engine.sandbox.context import Call
from engine.sandbox.database import Row, tables
from engine.sandbox.graph import ids
from engine.sandbox.graph.nodes import Alive, Changing, Node
from engine.sandbox.projects import projects
from engine.sandbox.projects.projects import Project
from engine.sandbox.refusals import not_found

tables(
    """
    CREATE TABLE IF NOT EXISTS runs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        project INTEGER NOT NULL REFERENCES projects ON DELETE CASCADE,
        user INTEGER NOT NULL REFERENCES users,
        name TEXT NOT NULL, display_name TEXT, state TEXT NOT NULL, exit_code INTEGER,
        created INTEGER NOT NULL, updated INTEGER NOT NULL, heartbeat INTEGER NOT NULL, deleted INTEGER,
        stop_requested INTEGER NOT NULL DEFAULT 0,
        config TEXT, summary TEXT, tags TEXT NOT NULL DEFAULT '[]',
        notes TEXT, description TEXT, run_group TEXT, job_type TEXT, commit_hash TEXT, host TEXT,
        program TEXT, repo TEXT, sweep TEXT, debug INTEGER,
        UNIQUE (project, name)
    );
    CREATE INDEX IF NOT EXISTS runs_by_sweep ON runs (project, sweep);
    """
)

CRASHED_AFTER_MS = 5 * 60 * 1000
"""A running run that is silent for longer has crashed."""

_SILENT = {"running": "crashed", "preempting": "preempted"}

# Everything but config and summary, which may be large and are asked for one by one.
_COLUMNS = """runs.number, runs.project, runs.user, runs.name, display_name, state, exit_code, runs.created,
    runs.updated, heartbeat, deleted, stop_requested, tags, notes, runs.description, run_group, job_type,
    commit_hash, host, program, runs.repo, sweep, debug"""


@dataclass(frozen=True, slots=True)
class Run(Node, Changing, Alive):
    """A run without its bulk; its attributes answer the fields of the same name.

    Attributes:
        name: the id that users see.
        recorded_state: as last written; ``state`` is what it means by now.
    """

    typename: ClassVar[str] = "Run"

    number: int
    project_number: int
    user_number: int
    name: str
    display_name: str | None
    recorded_state: str
    exitcode: int | None
    created_ms: int
    updated_ms: int
    heartbeat_ms: int
    deleted: int | None
    stopped: bool
    tags: list[str]
    notes: str | None
    description: str | None
    group: str | None
    job_type: str | None
    commit: str | None
    host: str | None
    program: str | None
    repo: str | None
    sweep_name: str | None
    debug: bool | None

    @property
    def state(self) -> str:
        """Derived, because a run that crashed says nothing more."""
        return state_of(self.recorded_state, self.heartbeat_ms)


def state_of(recorded: str, heartbeat: int) -> str:
    """What a recorded state means by now."""
    if recorded in _SILENT and clock.now_ms() - heartbeat > CRASHED_AFTER_MS:
        return _SILENT[recorded]
    return recorded


def find(call: Call, project: Project, name: str, *, deleted: bool = False) -> Run | None:
    """The run of this id in a project."""
    row = call.db.one(
        f"SELECT {_COLUMNS} FROM runs WHERE project = ? AND name = ?",  # noqa: S608
        (project.number, name),
    )
    if row is None or (row["deleted"] is not None and not deleted):
        return None
    return _run(row)


def of_number(call: Call, number: int) -> Run:
    """The run behind a reference of another table."""
    (run,) = of_numbers(call, [number])
    return run


def of_numbers(call: Call, numbers: Iterable[int]) -> list[Run]:
    """Runs in the order of their numbers given; deleted ones, too."""
    found = []
    for number in numbers:
        row = call.db.one(f"SELECT {_COLUMNS} FROM runs WHERE number = ?", (number,))  # noqa: S608
        assert row is not None
        found.append(_run(row))
    return found


def writable_of_id(call: Call, id_: str) -> Run:
    """The run of a storage id, for a write.

    Raises:
        Refusal: 404 or 403.
    """
    row = call.db.one(f"SELECT {_COLUMNS} FROM runs WHERE number = ?", (ids.decode("Run", id_),))  # noqa: S608
    if row is None or row["deleted"] is not None:
        raise not_found(f"run {id_!r} not found")
    run = _run(row)
    projects.require_member(call, run.project_number)
    return run


def writable(call: Call, entity_name: str | None, project_name: str | None, name: str) -> Run:
    """The run of this entity, project and id, for a write.

    Raises:
        Refusal: 404 or 403.
    """
    project = projects.writable(call, entity_name, project_name)
    run = find(call, project, name)
    if run is None:
        raise not_found(f"run {project.entity_name}/{project.name}/{name} not found")
    return run


def in_project(
    call: Call, project: Project, *, sweep: str | None = None, bulk: bool = False, deleted: bool = False
) -> list[Listed]:
    """All runs of a project, of one sweep perhaps, in the order of creation.

    Args:
        bulk: with config and summary.
        deleted: those that were deleted, instead.
    """
    columns = f"{_COLUMNS}, config, summary" if bulk else _COLUMNS
    return [Listed(row) for row in rows(call, project, columns, sweep=sweep, deleted=deleted)]


def rows(
    call: Call, project: Project, columns: str, *, sweep: str | None = None, deleted: bool = False
) -> list[Row]:
    """Some columns of all runs of a project, in the order of creation; see ``in_project``."""
    return call.db.all(
        f"""SELECT {columns} FROM runs WHERE project = :project AND (deleted IS NOT NULL) = :deleted
        AND (:sweep IS NULL OR sweep = :sweep) ORDER BY number""",  # noqa: S608
        {"project": project.number, "sweep": sweep, "deleted": deleted},
    )


@dataclass(frozen=True, slots=True)
class Listed:
    """A run with its config and summary, if they were asked for."""

    row: Row

    @property
    def run(self) -> Run:
        return _run(self.row)

    @property
    def config(self) -> str | None:
        text: str | None = self.row["config"]
        return text

    @property
    def summary(self) -> str | None:
        text: str | None = self.row["summary"]
        return text


def count(call: Call, project: Project) -> int:
    """How many runs a project has."""
    found: int = call.db.value(
        "SELECT count(*) FROM runs WHERE project = ? AND deleted IS NULL", (project.number,)
    )
    return found


def column(call: Call, run: Run, name: str) -> Any:
    """A column that a ``Run`` does not carry: ``config`` or ``summary``."""
    assert name in ("config", "summary")
    return call.db.value(f"SELECT {name} FROM runs WHERE number = ?", (run.number,))  # noqa: S608


def project_of(call: Call, run: Run) -> Project:
    """Where a run is."""
    return projects.of_number(call, run.project_number)


def entity_of(call: Call, run: Run) -> Entity:
    """Whose project a run is in."""
    return accounts.entity_of_number(call.db, project_of(call, run).entity_number)


def update(call: Call, run: Run, **columns: Any) -> None:
    """Write columns by their names in the table."""
    columns["updated"] = clock.now_ms()
    assignments = ", ".join(f"{name} = ?" for name in columns)
    call.db.execute(f"UPDATE runs SET {assignments} WHERE number = ?", (*columns.values(), run.number))  # noqa: S608


def _run(row: Row) -> Run:
    return Run(
        number=row["number"],
        project_number=row["project"],
        user_number=row["user"],
        name=row["name"],
        display_name=row["display_name"],
        recorded_state=row["state"],
        exitcode=row["exit_code"],
        created_ms=row["created"],
        updated_ms=row["updated"],
        heartbeat_ms=row["heartbeat"],
        deleted=row["deleted"],
        stopped=bool(row["stop_requested"]),
        tags=json.loads(row["tags"]),
        notes=row["notes"],
        description=row["description"],
        group=row["run_group"],
        job_type=row["job_type"],
        commit=row["commit_hash"],
        host=row["host"],
        program=row["program"],
        repo=row["repo"],
        sweep_name=row["sweep"],
        debug=None if row["debug"] is None else bool(row["debug"]),
    )
