"""Sweep agents: they register, report what they run, and are told what to do next."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.sandbox import clock
from engine.sandbox.accounts import accounts
from engine.sandbox.accounts.accounts import User
from engine.sandbox.context import Call
from engine.sandbox.database import Row, tables
from engine.sandbox.graph import ids
from engine.sandbox.graph.connections import Connection, connection
from engine.sandbox.graph.execution import resolver
from engine.sandbox.graph.nodes import Alive, Dated, Node
from engine.sandbox.projects import projects
from engine.sandbox.refusals import bad_request, not_found
from engine.sandbox.runs import runs
from engine.sandbox.runs.lists import run_connection
from engine.sandbox.runs.runs import Run
from engine.sandbox.sweeps import search as sweep_search
from engine.sandbox.sweeps import sweeps
from engine.sandbox.sweeps.sweeps import Sweep

tables("""
CREATE TABLE IF NOT EXISTS agents (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    sweep INTEGER NOT NULL REFERENCES sweeps (number) ON DELETE CASCADE,
    user INTEGER NOT NULL, name TEXT NOT NULL, display_name TEXT, host TEXT NOT NULL, state TEXT NOT NULL,
    metrics TEXT NOT NULL DEFAULT '{}', created_ms INTEGER NOT NULL, heartbeat_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS agent_runs (
    run INTEGER PRIMARY KEY REFERENCES runs (number) ON DELETE CASCADE,
    agent INTEGER NOT NULL REFERENCES agents (number) ON DELETE CASCADE
);
""")


@dataclass(frozen=True, slots=True)
class Agent(Node, Dated, Alive):
    """A process that runs what a sweep hands out."""

    typename: ClassVar[str] = "Agent"
    number: int
    sweep_number: int
    user_number: int
    name: str
    display_name: str | None
    host: str
    state: str
    metrics: str
    created_ms: int
    heartbeat_ms: int


def _agent(row: Row) -> Agent:
    return Agent(*row)


def _agents_of(call: Call, sweep: Sweep) -> list[Agent]:
    rows = call.db.all("SELECT * FROM agents WHERE sweep = ? ORDER BY number", (sweep.number,))
    return [_agent(row) for row in rows]


def _run_names(call: Call, agent: Agent) -> list[str]:
    rows = call.db.all(
        "SELECT name FROM agent_runs JOIN runs ON runs.number = run WHERE agent = ?", (agent.number,)
    )
    return [row["name"] for row in rows]


# -- read


@resolver("Sweep.agents")
def sweep_agents(sweep: Sweep, call: Call) -> Connection:
    return connection(_agents_of(call, sweep), lambda agent: [agent.number])


@resolver("Sweep.agent")
def sweep_agent(sweep: Sweep, call: Call, *, agent_name: str) -> Agent | None:
    found = (agent for agent in _agents_of(call, sweep) if agent_name in (agent.name, agent.id))
    return next(found, None)


@resolver("Run.agent")
def run_agent(run: Run, call: Call) -> Agent | None:
    row = call.db.one(
        "SELECT agents.* FROM agents JOIN agent_runs ON agent = agents.number WHERE run = ?", (run.number,)
    )
    return None if row is None else _agent(row)


@resolver("Agent.sweep")
def agent_sweep(agent: Agent, call: Call) -> Sweep:
    return sweeps.of_number(call, agent.sweep_number)


@resolver("Agent.user")
def agent_user(agent: Agent, call: Call) -> User:
    return accounts.user_of_number(call.db, agent.user_number)


@resolver("Agent.runs")
def agent_runs(agent: Agent, call: Call, **page: Any) -> Connection:
    project = projects.of_number(call, agent_sweep(agent, call).project_number)
    filters = json.dumps({"name": {"$in": _run_names(call, agent)}})
    return run_connection(call, project, filters=filters, **page)


@resolver("Agent.totalRuns")
def agent_total_runs(agent: Agent, call: Call) -> int:
    return len(_run_names(call, agent))


# -- write


@resolver("Mutation.createAgent")
def create_agent(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    project = projects.writable(call, given.get("entityName"), given.get("projectName"))
    sweep = sweeps.find(call, project.number, given["sweep"])
    if sweep is None:
        raise not_found(f"sweep {project.entity_name}/{project.name}/{given['sweep']} not found")
    now = clock.now_ms()
    number = call.db.insert(
        "INSERT INTO agents (sweep, user, name, display_name, host, state, created_ms, heartbeat_ms) "
        "VALUES (?, ?, ?, ?, ?, 'RUNNING', ?, ?)",
        (sweep.number, call.user.number, ids.short_name(), given.get("displayName"), given["host"], now, now),
    )
    return {"clientMutationId": given.get("clientMutationId"), "agent": _of_number(call, number)}


@resolver("Mutation.agentHeartbeat")
def agent_heartbeat(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    agent = _of_number(call, ids.decode("Agent", given["id"]))
    sweep = agent_sweep(agent, call)
    projects.require_member(call, sweep.project_number)
    running = json.loads(given.get("runState") or "{}")
    if not isinstance(running, dict):
        raise bad_request("runState must be a JSON object")
    call.db.execute(
        "UPDATE agents SET heartbeat_ms = ?, metrics = coalesce(?, metrics) WHERE number = ?",
        (clock.now_ms(), given.get("metrics"), agent.number),
    )
    commands = _commands(call, agent, sweep, [name for name, active in running.items() if active])
    return {
        "clientMutationId": given.get("clientMutationId"),
        "agent": _of_number(call, agent.number),
        "commands": json.dumps(commands),
    }


def _of_number(call: Call, number: int) -> Agent:
    row = call.db.one("SELECT * FROM agents WHERE number = ?", (number,))
    if row is None:
        raise not_found("agent not found; its sweep may have been deleted")
    return _agent(row)


def _commands(call: Call, agent: Agent, sweep: Sweep, running: list[str]) -> list[dict[str, Any]]:
    if sweep.state in ("CANCELED", "FINISHED") and (sweep.state == "CANCELED" or not running):
        return [{"type": "exit"}]
    project = projects.of_number(call, sweep.project_number)
    found = [run for name in running if (run := runs.find(call, project, name)) is not None]
    stopped = [run for run in found if run.stopped]
    if stopped:
        return [{"type": "stop", "run_id": run.name} for run in stopped]
    if running or sweep.state == "PAUSED":
        return []
    made = sweeps.next_run(call, sweep)
    if made is None:
        return [{"type": "exit"}]
    run, arguments = made
    call.db.execute("INSERT INTO agent_runs VALUES (?, ?)", (run.number, agent.number))
    program = sweep_search.parse(sweep.config).get("program")
    return [{"type": "run", "run_id": run.name, "args": arguments, "program": program}]
