"""``deleteModel``: a project goes for good, with all that is in it and the bytes behind it."""

from __future__ import annotations

from typing import Any

from engine.sandbox.artifacts import records as artifact_records
from engine.sandbox.artifacts.deletion import delete_version
from engine.sandbox.context import Call
from engine.sandbox.graph.execution import resolver
from engine.sandbox.projects import projects
from engine.sandbox.runs.files import doom_files
from engine.sandbox.runs.history_exports import doom_exports


@resolver("Mutation.deleteModel")
def delete_model(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    project = projects.writable_of_id(call, given["id"])
    for row in call.db.all("SELECT number FROM runs WHERE project = ?", (project.number,)):
        doom_files(call, row["number"])
        doom_exports(call, row["number"])
    versions = call.db.all(
        """SELECT artifacts.number FROM artifacts
        JOIN artifact_collections ON artifact_collections.number = sequence WHERE project = ?""",
        (project.number,),
    )
    for row in versions:
        artifact = artifact_records.artifact_by_number(call.db, row["number"])
        delete_version(call.db, call.objects, artifact)
    call.db.execute("DELETE FROM projects WHERE number = ?", (project.number,))
    return {"clientMutationId": given.get("clientMutationId"), "success": True}
