"""Which runs made and used which artifacts."""

from __future__ import annotations

from typing import Any

from engine.sandbox.accounts import accounts
from engine.sandbox.accounts.accounts import User
from engine.sandbox.artifacts.access import readable_artifact
from engine.sandbox.artifacts.lists import ARTIFACT_FIELDS
from engine.sandbox.artifacts.records import Artifact
from engine.sandbox.context import Call
from engine.sandbox.database import tables
from engine.sandbox.graph.connections import Connection, connection
from engine.sandbox.graph.execution import resolver
from engine.sandbox.graph.listing import listed
from engine.sandbox.projects import projects
from engine.sandbox.refusals import bad_request, not_found
from engine.sandbox.runs import runs
from engine.sandbox.runs.runs import Run

tables("""
CREATE TABLE IF NOT EXISTS run_outputs (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    artifact INTEGER NOT NULL REFERENCES artifacts (number) ON DELETE CASCADE,
    PRIMARY KEY (run, artifact)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS run_inputs (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    artifact INTEGER NOT NULL REFERENCES artifacts (number) ON DELETE CASCADE,
    used_as TEXT NOT NULL,
    PRIMARY KEY (run, artifact, used_as)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS run_inputs_by_artifact ON run_inputs (artifact);
""")


def record_output(call: Call, run: Run, artifact: Artifact) -> None:
    """Note that a run logged a version; also one that logged the same content again."""
    call.db.execute("INSERT OR IGNORE INTO run_outputs VALUES (?, ?)", (run.number, artifact.number))


@resolver("Mutation.useArtifact")
def use_artifact(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    artifact = readable_artifact(call, given["artifactID"])
    if artifact is None:
        raise not_found(f"artifact {given['artifactID']} not found")
    run = runs.writable(call, given["entityName"], given["projectName"], given["runName"])
    if given.get("artifactEntityName") and given.get("artifactProjectName"):
        where = projects.find(call, given["artifactEntityName"], given["artifactProjectName"])
        if where is None:
            raise not_found("the project of the artifact does not exist")
    call.db.execute(
        "INSERT OR IGNORE INTO run_inputs VALUES (?, ?, ?)",
        (run.number, artifact.number, given.get("usedAs") or ""),
    )
    return {"clientMutationId": given.get("clientMutationId"), "artifact": artifact, "run": run}


@resolver("Artifact.createdBy")
def created_by(artifact: Artifact, call: Call) -> Run | User:
    if artifact.run is None:
        return accounts.user_of_number(call.db, artifact.user)
    return runs.of_number(call, artifact.run)


@resolver("Artifact.usedBy")
def used_by(
    artifact: Artifact, call: Call, *, filters: str | None = None, order: str | None = None, **page: Any
) -> Connection:
    if order not in (None, "", "+created_at", "created_at"):
        raise bad_request(f"usedBy cannot be ordered by {order!r}")
    if filters not in (None, "", "{}", "null"):
        raise bad_request("usedBy cannot be filtered")
    found = [run for run in runs.of_numbers(call, _users(call, artifact)) if run.deleted is None]
    return connection(found, lambda run: [run.number], **page)


@resolver("Artifact.usedCount")
def used_count(artifact: Artifact, call: Call) -> int:
    return len(_users(call, artifact))


def _users(call: Call, artifact: Artifact) -> list[int]:
    rows = call.db.all("SELECT DISTINCT run FROM run_inputs WHERE artifact = ?", (artifact.number,))
    return [row["run"] for row in rows]


def outputs_of(call: Call, run: Run) -> list[Artifact]:
    """The versions that a run logged, as far as they are committed."""
    rows = call.db.all(
        "SELECT a.* FROM run_outputs JOIN artifacts a ON a.number = artifact "
        "WHERE run_outputs.run = ? AND state = 'COMMITTED'",
        (run.number,),
    )
    return [Artifact(*row) for row in rows]


def inputs_of(call: Call, run: Run) -> list[Artifact]:
    """The versions that a run used, as far as they are there."""
    rows = call.db.all(
        "SELECT * FROM artifacts WHERE state = 'COMMITTED' "
        "AND number IN (SELECT artifact FROM run_inputs WHERE run = ?) ORDER BY number",
        (run.number,),
    )
    return [Artifact(*row) for row in rows]


@resolver("Run.outputArtifacts")
def output_artifacts(run: Run, call: Call, **rest: Any) -> Connection:
    return listed(call, outputs_of(call, run), ARTIFACT_FIELDS, default="+number", **rest)


@resolver("Run.inputArtifacts")
def input_artifacts(run: Run, call: Call, **rest: Any) -> Connection:
    used: dict[int, list[str]] = {}
    for row in call.db.all("SELECT artifact, used_as FROM run_inputs WHERE run = ?", (run.number,)):
        used.setdefault(row["artifact"], []).append(row["used_as"])
    return listed(
        call,
        inputs_of(call, run),
        ARTIFACT_FIELDS,
        default="+number",
        edge=lambda artifact: {"usedAs": [name for name in used[artifact.number] if name]},
        **rest,
    )
