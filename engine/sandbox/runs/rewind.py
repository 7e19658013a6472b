"""``rewindRun``: forget what a run logged after a step, so that it goes on from there."""

from __future__ import annotations

from typing import Any

from engine.sandbox import clock
from engine.sandbox.context import Call
from engine.sandbox.graph.execution import resolver
from engine.sandbox.refusals import bad_request
from engine.sandbox.runs import history, runs
from engine.sandbox.runs.history_exports import doom_exports


@resolver("Mutation.rewindRun")
def rewind_run(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    if given["metricName"] != "_step":
        raise bad_request(f"a run can be rewound by _step only, not by {given['metricName']!r}")
    run = runs.writable(call, given.get("entityName"), given.get("projectName"), given["runName"])
    doom_exports(call, run.number)
    history.drop_after(call.db, run.number, int(given["metricValue"]))
    runs.update(call, run, state="running", exit_code=None, heartbeat=clock.now_ms())
    return {
        "clientMutationId": given.get("clientMutationId"),
        "rewoundRun": runs.of_number(call, run.number),
    }
