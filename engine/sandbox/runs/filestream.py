"""``POST /files/{entity}/{project}/{run}/file_stream``: what a run writes while it runs.

    {"files": {"wandb-history.jsonl": {"offset": 0, "content": ["{…}"]}}, "complete": true, "exitcode": 0}

Everything in one request is stored, or nothing. ``{}`` is a heartbeat.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from aiohttp import web

from engine.sandbox import clock
from engine.sandbox.context import CALL, Call
from engine.sandbox.refusals import bad_request
from engine.sandbox.runs import history, lines, runs
from engine.sandbox.runs.files import mark_uploaded
from engine.sandbox.runs.history import parse_row
from engine.sandbox.runs.history_exports import doom_exports
from engine.sandbox.runs.lines import Stream
from engine.sandbox.runs.runs import Run

_ENDED = ("finished", "failed", "crashed", "killed")


async def file_stream(request: web.Request) -> web.Response:
    """Store one request of a run's stream and tell the writer whether to stop."""
    call = request[CALL]
    try:
        body = orjson.loads(await request.read() or b"{}")
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise bad_request("the body is not a JSON object")
    path = request.match_info
    run = runs.writable(call, path["entity"], path["project"], path["run"])
    with call.db.transaction():
        for name, offset, content in _chunks(body.get("files", {})):
            _store(call, run, name, offset, content)
        mark_uploaded(call, run, _names(body.get("uploaded", [])))
        runs.update(call, run, **_progress(run, body))
    return web.json_response(
        {"exitcode": body.get("exitcode"), "limits": {}, "stopped": run.stopped and not body.get("complete")}
    )


def _chunks(files: Any) -> Iterator[tuple[str, int, list[str]]]:
    if not isinstance(files, dict):
        raise bad_request("files must be an object")
    for name, given in files.items():
        # Old clients send console output as a list of chunks.
        for chunk in given if isinstance(given, list) else [given]:
            if not isinstance(chunk, dict):
                raise bad_request(f"{name} must have an offset and content")
            offset, content = chunk.get("offset", 0), chunk.get("content")
            if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
                raise bad_request(f"the offset of {name} must be a number of a line, not {offset!r}")
            if not isinstance(content, list) or not all(isinstance(line, str) for line in content):
                raise bad_request(f"the content of {name} must be a list of texts")
            yield name, offset, content


def _store(call: Call, run: Run, name: str, offset: int, content: list[str]) -> None:
    match name:
        case "wandb-history.jsonl":
            doom_exports(call, run.number, offset)
            history.write(call.db, run.number, offset, content)
        case "wandb-events.jsonl":
            for line in content:
                parse_row(line)
            lines.write(call.db, run.number, Stream.EVENTS, offset, content)
        case "wandb-summary.json":
            if content:
                parse_row(content[-1])
                runs.update(call, run, summary=content[-1])
        case "output.log":
            lines.write(call.db, run.number, Stream.CONSOLE, offset, content)
        case _:
            raise bad_request(f"{name!r} is not a file of the stream")


def _names(uploaded: Any) -> list[str]:
    if not isinstance(uploaded, list) or not all(isinstance(name, str) for name in uploaded):
        raise bad_request("uploaded must be a list of file names")
    return uploaded


def _progress(run: Run, body: dict[str, Any]) -> dict[str, Any]:
    """What a request says about the run itself."""
    changes: dict[str, Any] = {"heartbeat": clock.now_ms()}
    if body.get("complete"):
        code = body.get("exitcode")
        if isinstance(code, bool) or not isinstance(code, (int, type(None))):
            raise bad_request(f"exitcode must be an integer, not {code!r}")
        # Without an exit code, old clients said `failed`.
        failed = bool(code) if code is not None else bool(body.get("failed"))
        ended = "finished" if not failed else "killed" if run.stopped else "failed"
        changes |= {"exit_code": code, "state": ended}
    elif body.get("preempting"):
        changes["state"] = "preempting"
    elif run.recorded_state != "preempting" and (body.get("files") or run.recorded_state not in _ENDED):
        changes["state"] = "running"
    return changes


ROUTES = [web.post("/files/{entity}/{project}/{run}/file_stream", file_stream)]
