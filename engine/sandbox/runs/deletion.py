"""Deleting runs: softly, so that an id stays burnt and a run can come back."""

from __future__ import annotations

import json
from typing import Any

from engine.sandbox import clock
from engine.sandbox.artifacts.deletion import delete_version
from engine.sandbox.artifacts.lineage import outputs_of
from engine.sandbox.context import Call
from engine.sandbox.graph import ids
from engine.sandbox.graph.execution import resolver
from engine.sandbox.projects import projects
from engine.sandbox.refusals import bad_request
from engine.sandbox.runs import runs
from engine.sandbox.runs.lists import select
from engine.sandbox.runs.runs import Run
from engine.sandbox.runs.upserts import check_tags


@resolver("Mutation.deleteRun")
def delete_run(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    run = runs.writable_of_id(call, given["id"])
    if given.get("deleteArtifacts"):
        _delete_outputs(call, run)
    runs.update(call, run, deleted=clock.now_ms())
    return {"clientMutationId": given.get("clientMutationId")}


@resolver("Mutation.deleteRuns")
def delete_runs(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    project = projects.writable(call, given["entityName"], given["projectName"])
    for run in select(call, project, given["filters"]):
        if given.get("deleteArtifacts"):
            _delete_outputs(call, run)
        runs.update(call, run, deleted=clock.now_ms())
    return {"clientMutationId": given.get("clientMutationId"), "errors": None}


@resolver("Mutation.undeleteRuns")
def undelete_runs(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    project = projects.writable(call, given["entityName"], given["projectName"])
    for run in select(call, project, given["filters"], deleted=True):
        runs.update(call, run, deleted=None)
    return {"clientMutationId": given.get("clientMutationId")}


@resolver("Mutation.modifyRuns")
def modify_runs(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    if given.get("ids") is not None:
        found = [runs.writable_of_id(call, id_) for id_ in given["ids"]]
    else:
        project = projects.writable(call, given.get("entityName"), given.get("projectName"))
        if not given.get("filters"):
            raise bad_request("modifyRuns needs ids or filters")
        found = select(call, project, given["filters"])
    for run in found:
        kept = [tag for tag in run.tags if tag not in (given.get("removeTags") or [])]
        runs.update(call, run, tags=json.dumps(check_tags([*kept, *(given.get("addTags") or [])])))
    return {
        "clientMutationId": given.get("clientMutationId"),
        "runs": runs.of_numbers(call, (ids.decode("Run", run.id) for run in found)),
    }


def _delete_outputs(call: Call, run: Run) -> None:
    for artifact in outputs_of(call, run):
        delete_version(call.db, call.objects, artifact)
