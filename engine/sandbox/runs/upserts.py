"""``upsertBucket``: creates a run or changes some of it."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

from engine.sandbox import clock
from engine.sandbox.context import Call
from engine.sandbox.database import tables
from engine.sandbox.graph import ids
from engine.sandbox.graph.execution import resolver
from engine.sandbox.projects import projects
from engine.sandbox.projects.projects import Project
from engine.sandbox.refusals import bad_request, conflict
from engine.sandbox.runs import runs
from engine.sandbox.runs.runs import Run

tables(
    """
    CREATE TABLE IF NOT EXISTS alerts (
        number INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
        created INTEGER NOT NULL, title TEXT NOT NULL, body TEXT NOT NULL, severity TEXT
    );
    """
)

_ID_MAX = 128
_ID_FORBIDDEN = re.compile(r"[:;,#?/'\r\n]")
_TAG_MAX = 64
_STATES = (
    "running",
    "pending",
    "failed",
    "finished",
    "crashed",
    "killed",
    "preempting",
    "preempted",
)

# Input field → column; null leaves a column as it is, an empty text clears it.
_TEXTS = {
    "displayName": "display_name",
    "notes": "notes",
    "description": "description",
    "groupName": "run_group",
    "jobType": "job_type",
    "commit": "commit_hash",
    "host": "host",
    "jobProgram": "program",
    "jobRepo": "repo",
    "sweep": "sweep",
}

_ADJECTIVES = (
    "amber",
    "brisk",
    "calm",
    "clever",
    "dapper",
    "eager",
    "gentle",
    "jolly",
    "lucky",
    "mellow",
    "quiet",
)
_NOUNS = (
    "breeze",
    "brook",
    "cloud",
    "comet",
    "dune",
    "forest",
    "harbor",
    "lake",
    "meadow",
    "moon",
    "river",
    "wave",
)


@resolver("Mutation.upsertBucket")
def upsert_bucket(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    columns = _columns(given)
    if given.get("id"):
        run, inserted = runs.writable_of_id(call, given["id"]), False
    else:
        project = projects.ensure(call, given.get("entityName"), given.get("modelName"))
        found = runs.find(call, project, given.get("name") or "", deleted=True)
        if found is not None and found.deleted is not None:
            raise conflict(f"run {found.name} was previously created and deleted; try a new run name")
        inserted = found is None
        run = found or _create(call, project, given.get("name"))
    if not inserted and "state" not in columns and (given.get("host") or given.get("jobProgram")):
        # Only the first upsert of a process says where it runs, so this run begins or goes on now.
        columns |= {"state": "running", "exit_code": None, "stop_requested": False}
        columns["heartbeat"] = clock.now_ms()
    if columns:
        runs.update(call, run, **columns)
    return {
        "clientMutationId": given.get("clientMutationId"),
        "bucket": runs.of_number(call, run.number),
        "inserted": inserted,
        "updateAvailable": False,
    }


def _columns(given: dict[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        column: given[field] or None for field, column in _TEXTS.items() if given.get(field) is not None
    }
    if (config := given.get("config")) is not None:
        columns["config"] = _object("config", config)
    if (summary := given.get("summaryMetrics")) is not None:
        columns["summary"] = _object("summaryMetrics", summary)
    if (tags := given.get("tags")) is not None:
        columns["tags"] = json.dumps(check_tags(tags))
    if given.get("debug") is not None:
        columns["debug"] = given["debug"]
    if (state := given.get("state")) is not None:
        if state not in _STATES:
            raise bad_request(f"unknown run state {state!r}")
        columns |= {"state": state, "heartbeat": clock.now_ms()}
    return columns


def _object(field: str, text: str) -> str:
    if not isinstance(json.loads(text), dict):
        raise bad_request(f"{field} must hold a JSON object")
    return text


def check_tags(tags: list[str | None]) -> list[str]:
    """Tags without repetition, in the order given.

    Raises:
        Refusal: 400, one is empty or too long.
    """
    kept = []
    for tag in tags:
        if not tag or len(tag) > _TAG_MAX:
            raise bad_request(f"a tag has 1 to {_TAG_MAX} characters: {tag!r}")
        if tag not in kept:
            kept.append(tag)
    return kept


def _create(call: Call, project: Project, name: str | None) -> Run:
    name = name or ids.short_name()
    if len(name) > _ID_MAX or name != name.strip() or _ID_FORBIDDEN.search(name):
        raise bad_request(
            f"invalid run id {name!r}: at most {_ID_MAX} characters, none of : ; , # ? / ' "
            "and no space around it"
        )
    now = clock.now_ms()
    order = call.db.value("SELECT count(*) FROM runs WHERE project = ?", (project.number,)) + 1
    display_name = f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}-{order}"
    number = call.db.insert(
        """INSERT INTO runs (project, user, name, display_name, state, created, updated, heartbeat)
        VALUES (?, ?, ?, ?, 'running', ?, ?, ?)""",
        (project.number, call.user.number, name, display_name, now, now, now),
    )
    return runs.of_number(call, number)


@resolver("Mutation.updateRunState")
def update_run_state(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    run = runs.writable_of_id(call, given["id"])
    if given["state"] not in ("pending", "failed"):
        raise bad_request(f"a run can be set to pending or failed, not to {given['state']!r}")
    runs.update(call, run, state=given["state"])
    return _done(given)


@resolver("Mutation.stopRun")
def stop_run(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    run = runs.writable_of_id(call, given["id"])
    if run.state in ("running", "pending", "preempting"):
        runs.update(call, run, stop_requested=True)
    return _done(given)


@resolver("Mutation.notifyScriptableRunAlert")
def notify_scriptable_run_alert(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    run = runs.writable(call, given["entityName"], given["projectName"], given["runName"])
    call.db.execute(
        "INSERT INTO alerts (run, created, title, body, severity) VALUES (?, ?, ?, ?, ?)",
        (run.number, clock.now_ms(), given["title"], given["text"], given.get("severity")),
    )
    return _done(given)


def _done(given: dict[str, Any]) -> dict[str, Any]:
    return {"clientMutationId": given.get("clientMutationId"), "success": True}
