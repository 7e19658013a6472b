"""Sweeps: configured, listed, and fed to agents run by run."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.sandbox import clock, json_text
from engine.sandbox.accounts import accounts
from engine.sandbox.accounts.accounts import User
from engine.sandbox.context import Call
from engine.sandbox.database import Row, tables
from engine.sandbox.graph import ids
from engine.sandbox.graph.connections import Connection, connection
from engine.sandbox.graph.execution import resolver
from engine.sandbox.graph.filters import dotted
from engine.sandbox.graph.listing import Fields, listed
from engine.sandbox.graph.nodes import Alive, Changing, Node
from engine.sandbox.projects import projects
from engine.sandbox.projects.projects import Project
from engine.sandbox.refusals import bad_request, not_found
from engine.sandbox.runs import runs
from engine.sandbox.runs.lists import run_connection
from engine.sandbox.runs.runs import Run
from engine.sandbox.runs.upserts import upsert_bucket
from engine.sandbox.sweeps import search as sweep_search

tables("""
CREATE TABLE IF NOT EXISTS sweeps (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    project INTEGER NOT NULL REFERENCES projects (number) ON DELETE CASCADE,
    user INTEGER NOT NULL, name TEXT NOT NULL, display_name TEXT, description TEXT, config TEXT NOT NULL,
    state TEXT NOT NULL, controller TEXT, scheduler TEXT, made_runs INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, heartbeat_ms INTEGER NOT NULL,
    UNIQUE (project, name)
);
""")

STATES = ("PENDING", "RUNNING", "PAUSED", "CANCELED", "FINISHED")

_BAYES = "the sandbox draws the parameters of a bayes sweep at random"


@dataclass(frozen=True, slots=True)
class Sweep(Node, Changing, Alive):
    """A search over parameters; its attributes answer the fields of the same name.

    Attributes:
        name: the short id that users see.
        made_runs: how many runs were handed to agents.
    """

    typename: ClassVar[str] = "Sweep"
    number: int
    project_number: int
    user_number: int
    name: str
    display_name: str | None
    description: str | None
    config: str
    state: str
    controller: str | None
    scheduler: str | None
    made_runs: int
    created_ms: int
    updated_ms: int
    heartbeat_ms: int

    @property
    def method(self) -> str:
        return str(sweep_search.parse(self.config)["method"])

    @property
    def run_count_expected(self) -> int | None:
        """Runs until the sweep is through; None if it never is."""
        config = sweep_search.parse(self.config)
        grid = sweep_search.grid_size(config["parameters"]) if config["method"] == "grid" else None
        bounds = [bound for bound in (grid, config.get("run_cap")) if bound is not None]
        return min(bounds, default=None)


def of_number(call: Call, number: int) -> Sweep:
    """The sweep behind a reference of another table.

    Raises:
        Refusal: 404, it was deleted.
    """
    row = call.db.one("SELECT * FROM sweeps WHERE number = ?", (number,))
    if row is None:
        raise not_found("sweep not found")
    return _sweep(row)


def find(call: Call, project: int, name: str) -> Sweep | None:
    """The sweep of a short id in a project."""
    row = call.db.one("SELECT * FROM sweeps WHERE project = ? AND name = ?", (project, name))
    return None if row is None else _sweep(row)


def writable(call: Call, sweep_id: str) -> Sweep:
    """The sweep of an opaque id, for a write.

    Raises:
        Refusal: 404 or 403.
    """
    sweep = of_number(call, ids.decode("Sweep", sweep_id))
    projects.require_member(call, sweep.project_number)
    return sweep


def _sweep(row: Row) -> Sweep:
    return Sweep(*row)


# -- read

_FIELDS: Fields[Sweep] = {
    "id": lambda _call, sweep: sweep.id,
    "number": lambda _call, sweep: sweep.number,
    "name": lambda _call, sweep: sweep.name,
    "display_name": lambda _call, sweep: sweep.display_name,
    "description": lambda _call, sweep: sweep.description,
    "state": lambda _call, sweep: sweep.state,
    "method": lambda _call, sweep: sweep.method,
    "created_at": lambda _call, sweep: sweep.created_ms,
    "updated_at": lambda _call, sweep: sweep.updated_ms,
}


@resolver("Project.sweep")
def project_sweep(project: Project, call: Call, *, sweep_name: str) -> Sweep | None:
    return find(call, project.number, sweep_name)


@resolver("Project.sweeps")
def project_sweeps(project: Project, call: Call, **rest: Any) -> Connection:
    rows = call.db.all("SELECT * FROM sweeps WHERE project = ?", (project.number,))
    return listed(call, [_sweep(row) for row in rows], _FIELDS, **rest)


@resolver("Project.totalSweeps")
def total_sweeps(project: Project, call: Call) -> int:
    return int(call.db.value("SELECT count(*) FROM sweeps WHERE project = ?", (project.number,)))


@resolver("Run.sweep")
def run_sweep(run: Run, call: Call) -> Sweep | None:
    return find(call, run.project_number, run.sweep_name) if run.sweep_name else None


@resolver("Sweep.project")
def sweep_project(sweep: Sweep, call: Call) -> Project:
    return projects.of_number(call, sweep.project_number)


@resolver("Sweep.user")
def sweep_user(sweep: Sweep, call: Call) -> User:
    return accounts.user_of_number(call.db, sweep.user_number)


@resolver("Sweep.runs")
def sweep_runs(sweep: Sweep, call: Call, **page: Any) -> Connection:
    return run_connection(call, sweep_project(sweep, call), sweep=sweep.name, **page)


@resolver("Sweep.priorRuns")
def prior_runs(_sweep: Sweep, _call: Call) -> Connection:
    """Runs from before a sweep are not taken into account."""
    return connection([], lambda _run: [])


@resolver("Sweep.runCount")
def run_count(sweep: Sweep, call: Call) -> int:
    return len(runs.in_project(call, sweep_project(sweep, call), sweep=sweep.name))


@resolver("Sweep.runTime")
def run_time(sweep: Sweep, call: Call) -> int:
    """Seconds, summed over the runs."""
    found = runs.in_project(call, sweep_project(sweep, call), sweep=sweep.name)
    return sum(item.run.heartbeat_ms - item.run.created_ms for item in found) // 1000


@resolver("Sweep.bestLoss")
def best_loss(sweep: Sweep, call: Call) -> float | None:
    metric = sweep_search.parse(sweep.config).get("metric") or {}
    found = runs.in_project(call, sweep_project(sweep, call), sweep=sweep.name, bulk=True)
    values = [
        value
        for item in found
        if isinstance(
            value := dotted(json_text.loads(item.summary or "{}"), metric.get("name", "")), (int, float)
        )
    ]
    if not values:
        return None
    return max(values) if metric.get("goal") == "maximize" else min(values)


@resolver("Sweep.controllerRunName")
def controller_run_name(_sweep: Sweep, _call: Call) -> str:
    """The server itself hands out the runs."""
    return ""


@resolver("Sweep.earlyStopJobRunning")
def early_stop_job_running(_sweep: Sweep, _call: Call) -> bool:
    return False


# -- write


@resolver("Mutation.upsertSweep")
def upsert_sweep(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    config, state = given.get("config"), given.get("state")
    warnings = []
    if config is not None and sweep_search.parse(config)["method"] == "bayes":
        warnings.append(_BAYES)
    if state is not None and state not in STATES:
        raise bad_request(f"sweep state must be one of {', '.join(STATES)}, not {state!r}")
    number = writable(call, given["id"]).number if given.get("id") else _insert(call, given)
    call.db.execute(
        "UPDATE sweeps SET config = coalesce(:config, config), state = coalesce(:state, state), "
        "display_name = coalesce(:display_name, display_name), "
        "controller = coalesce(:controller, controller), scheduler = coalesce(:scheduler, scheduler), "
        "description = coalesce(:description, description), "
        "updated_ms = :now WHERE number = :number",
        {
            "config": config,
            "state": state,
            "display_name": given.get("displayName"),
            "controller": given.get("controller"),
            "description": given.get("description"),
            "scheduler": given.get("scheduler"),
            "now": clock.now_ms(),
            "number": number,
        },
    )
    return {
        "clientMutationId": given.get("clientMutationId"),
        "configValidationWarnings": warnings,
        "inserted": not given.get("id"),
        "insertedPriorRuns": 0,
        "sweep": of_number(call, number),
    }


def _insert(call: Call, given: dict[str, Any]) -> int:
    if given.get("config") is None:
        raise bad_request("a new sweep needs a config")
    project = projects.ensure(call, given.get("entityName"), given.get("projectName"))
    now = clock.now_ms()
    return call.db.insert(
        "INSERT INTO sweeps (project, user, name, config, state, created_ms, updated_ms, heartbeat_ms) "
        "VALUES (?, ?, ?, ?, 'PENDING', ?, ?, ?)",
        (project.number, call.user.number, ids.short_name(), given["config"], now, now, now),
    )


@resolver("Mutation.deleteSweep")
def delete_sweep(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    sweep = writable(call, given["id"])
    members = runs.in_project(call, sweep_project(sweep, call), sweep=sweep.name)
    for member in members:
        change = {"deleted": clock.now_ms()} if given["deleteRuns"] else {"sweep": None}
        runs.update(call, member.run, **change)
    agents = call.db.value("SELECT count(*) FROM agents WHERE sweep = ?", (sweep.number,))
    call.db.execute("DELETE FROM sweeps WHERE number = ?", (sweep.number,))
    return {
        "clientMutationId": given.get("clientMutationId"),
        "affectedAgents": agents,
        "affectedRuns": len(members),
    }


def next_run(call: Call, sweep: Sweep) -> tuple[Run, dict[str, Any]] | None:
    """Create the next run of a sweep and say with which parameters; None if the sweep is through.

    The run exists before its process starts, without the telemetry by which the SDK knows a started run.
    """
    expected = sweep.run_count_expected
    if expected is not None and sweep.made_runs >= expected:
        call.db.execute("UPDATE sweeps SET state = 'FINISHED' WHERE number = ?", (sweep.number,))
        return None
    config = sweep_search.parse(sweep.config)
    parameters = config["parameters"]
    chosen = (
        sweep_search.grid_point(parameters, sweep.made_runs)
        if config["method"] == "grid"
        else sweep_search.draw(parameters, random.Random(f"{sweep.name}/{sweep.made_runs}"))
    )
    arguments = {name: {"value": value} for name, value in chosen.items()}
    project = sweep_project(sweep, call)
    made = upsert_bucket(
        None,
        call,
        given={
            "entityName": project.entity_name,
            "modelName": project.name,
            "name": ids.short_name(),
            "sweep": sweep.name,
            "config": json.dumps(arguments),
            "state": "pending",
        },
    )
    call.db.execute(
        "UPDATE sweeps SET made_runs = made_runs + 1, state = 'RUNNING', heartbeat_ms = ? WHERE number = ?",
        (clock.now_ms(), sweep.number),
    )
    run = made["bucket"]
    assert isinstance(run, Run)
    return run, arguments
