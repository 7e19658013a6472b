"""The fields of ``Run`` that are more than a column, and the ways to one run."""

from __future__ import annotations

import json
from typing import Any

from engine.sandbox import clock
from engine.sandbox.accounts import accounts
from engine.sandbox.accounts.accounts import User
from engine.sandbox.context import Call
from engine.sandbox.graph.connections import Connection, encode_cursor, wrap
from engine.sandbox.graph.connections import position as cursor_position
from engine.sandbox.graph.execution import Leaves, resolver
from engine.sandbox.json_text import loads
from engine.sandbox.projects.projects import Project
from engine.sandbox.refusals import bad_request, not_found
from engine.sandbox.runs import history, history_exports, lines, runs
from engine.sandbox.runs.history import SAMPLES, Steps
from engine.sandbox.runs.lines import Stream, console_lines
from engine.sandbox.runs.runs import Run

LOG_PAGE = 1000


@resolver("Project.run", "Project.bucket")
def project_run(
    project: Project,
    call: Call,
    *,
    name: str,
    missing_ok: bool | None = None,
    desc: str | None = None,  # noqa: ARG001
) -> Run | None:
    run = runs.find(call, project, name)
    if run is None and not missing_ok:
        raise not_found(f"could not find run {project.entity_name}/{project.name}/{name} during fetch")
    return run


# --- where, who, when


@resolver("Run.project", "Run.model")
def run_project(run: Run, call: Call) -> Project:
    return runs.project_of(call, run)


@resolver("Run.projectId")
def project_id(run: Run, _call: Call) -> str:
    """The bare number as a text, which clients turn into an integer for ``deleteFiles``."""
    return str(run.project_number)


@resolver("Run.user")
def run_user(run: Run, call: Call) -> User:
    return accounts.user_of_number(call.db, run.user_number)


@resolver("Run.deletedAt")
def deleted_at(run: Run, _call: Call) -> str | None:
    return None if run.deleted is None else clock.to_wire(run.deleted)


@resolver("Run.computeSeconds")
def compute_seconds(run: Run, _call: Call) -> int:
    return (run.heartbeat_ms - run.created_ms) // 1000


@resolver("Run.running")
def running(run: Run, _call: Call) -> bool:
    return run.state == "running"


@resolver("Run.failed")
def failed(run: Run, _call: Call) -> bool:
    return run.state in ("failed", "crashed", "killed")


@resolver("Run.shouldStop")
def should_stop(run: Run, _call: Call) -> bool:
    return run.stopped


@resolver("Run.readOnly", "Run.pendingUpdates")
def run_is_not(_run: Run, _call: Call) -> bool:
    return False


@resolver("Run.github", "Run.groupCounts")
def run_has_none(_run: Run, _call: Call) -> None:
    """Not kept."""


# --- config and summary


@resolver("Run.config")
def config(
    run: Run,
    call: Call,
    *,
    keys: list[str] | None = None,
    dot_behavior: str | None = None,  # noqa: ARG001
) -> str | None:
    return _reduced(runs.column(call, run, "config"), keys)


@resolver("Run.wandbConfig")
def wandb_config(run: Run, call: Call, *, keys: list[str] | None = None) -> str:
    stored = loads(runs.column(call, run, "config") or "{}")
    own = stored.get("_wandb", {}).get("value", {})
    return json.dumps(own if keys is None else {key: own[key] for key in keys if key in own})


@resolver("Run.summaryMetrics")
def summary_metrics(
    run: Run,
    call: Call,
    *,
    keys: list[str] | None = None,
    pack_version: int | None = None,  # noqa: ARG001
) -> str | None:
    return _reduced(runs.column(call, run, "summary"), keys)


def _reduced(text: str | None, keys: list[str] | None) -> str | None:
    if text is None or keys is None:
        return text
    stored = loads(text)
    return json.dumps({key: stored[key] for key in keys if key in stored})


@resolver("Run.runInfo")
def run_info(run: Run, call: Call) -> dict[str, Any] | None:
    """From what the SDK tells of its environment in the config."""
    stored = loads(runs.column(call, run, "config") or "{}")
    environments = stored.get("_wandb", {}).get("value", {}).get("e") or {}
    if not isinstance(environments, dict) or not environments:
        return None
    env = next(iter(environments.values()))
    git = env.get("git")
    return {
        "args": env.get("args") or [],
        "codeSaved": None,
        "colab": env.get("colab"),
        "cpuCount": env.get("cpu_count"),
        "executable": env.get("executable"),
        "git": git and {"commit": git.get("commit"), "remote": git.get("remote") or git.get("remoteURL")},
        "gpu": env.get("gpu"),
        "gpuCount": env.get("gpu_count"),
        "os": env.get("os"),
        "program": env.get("program"),
        "python": env.get("python"),
    }


# --- history


@resolver("Run.historyLineCount")
def history_line_count(run: Run, call: Call) -> int:
    return history.line_count(call.db, run.number)


@resolver("Run.historyTail")
def history_tail(run: Run, call: Call) -> str:
    return json.dumps(history.tail(call.db, run.number))


@resolver("Run.historyKeys")
def history_keys(run: Run, call: Call, *, format: str | None = None) -> dict[str, Any] | None:  # noqa: A002
    if format == "BITMAP":
        raise bad_request("the sandbox gives history keys as PLAINTEXT only")
    last_step = history.last_step(call.db, run.number)
    if last_step is None:
        return None
    return {"sets": [], "keys": history.keys_of(call.db, run.number), "lastStep": last_step}


@resolver("Run.history")
def run_history(
    run: Run,
    call: Call,
    *,
    samples: int | None = None,
    min_step: int | None = None,
    max_step: int | None = None,
) -> Leaves:
    count = SAMPLES if samples is None else samples
    steps = Steps(min_step, max_step, history_exports.first_live_line(call.db, run.number))
    return Leaves(history.sampled_rows(call.db, run.number, steps, count))


@resolver("Run.sampledHistory")
async def sampled_history(
    run: Run,
    call: Call,
    *,
    specs: list[str],
    pack_version: int | None = None,  # noqa: ARG001
) -> Leaves:
    return Leaves([await _sampled(run, call, loads(spec)) for spec in specs])


async def _sampled(run: Run, call: Call, spec: Any) -> list[dict[str, Any]]:
    keys = spec.get("keys") if isinstance(spec, dict) else None
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) for key in keys):
        raise bad_request("a spec of sampledHistory must have a list of keys")
    last = spec.get("maxStep")
    live = history_exports.first_live_line(call.db, run.number)
    steps = Steps(spec.get("minStep"), None if last is None else last + 1, live)
    return await history.sampled_values(call.db, run.number, steps, keys, spec.get("samples") or SAMPLES)


@resolver("Run.parquetHistory")
def parquet_history(run: Run, call: Call, *, live_keys: list[str]) -> dict[str, Any]:  # noqa: ARG001
    live = history_exports.first_live_line(call.db, run.number)
    return {
        "parquetUrls": history_exports.urls(call, run.number),
        "liveData": Leaves(history.live_steps(call.db, run.number, live)),
    }


# --- system metrics


@resolver("Run.events")
def events(run: Run, call: Call, *, samples: int | None = None) -> Leaves:
    count = SAMPLES if samples is None else samples
    return Leaves(lines.sampled(call.db, run.number, Stream.EVENTS, count))


@resolver("Run.eventsLineCount")
def events_line_count(run: Run, call: Call) -> int:
    return lines.line_count(call.db, run.number, Stream.EVENTS)


@resolver("Run.eventsTail")
def events_tail(run: Run, call: Call) -> str:
    return json.dumps(lines.tail(call.db, run.number, Stream.EVENTS))


@resolver("Run.systemMetrics")
def system_metrics(run: Run, call: Call) -> str | None:
    return next(iter(lines.tail(call.db, run.number, Stream.EVENTS, 1)), None)


# --- console


@resolver("Run.logLineCount")
def log_line_count(run: Run, call: Call) -> int:
    return lines.line_count(call.db, run.number, Stream.CONSOLE)


@resolver("Run.logLines")
def log_lines(
    run: Run,
    call: Call,
    *,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    use_improved_pagination: bool | None = None,  # noqa: ARG001
) -> Connection:
    from_end = first is None and last is not None
    limit = (last if from_end else first) or LOG_PAGE
    start = cursor_position(after) + 1 if after else 0
    stop = cursor_position(before) if before else None
    found = lines.numbered(
        call.db, run.number, Stream.CONSOLE, start=start, stop=stop, limit=limit + 1, last=from_end
    )
    more = len(found) > limit
    found = (found[-limit:] if from_end else found[:limit]) if more else found
    total = lines.line_count(call.db, run.number, Stream.CONSOLE)
    edges = [{"cursor": encode_cursor([line.number]), "node": line} for line in console_lines(found)]
    ahead = stop is not None if from_end else more
    return wrap(edges, has_next=ahead, has_previous=more if from_end else start > 0, total=total)
