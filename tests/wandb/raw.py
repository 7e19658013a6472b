"""Runs written line by line, for what the official SDK would not write."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tests.servers import RunningSandbox
from tests.wandb.conftest import ENTITY

_UPSERT = """mutation Upsert($input: UpsertBucketInput!) {
  upsertBucket(input: $input) { bucket { id } } }"""


def upsert(server: RunningSandbox, project: str, run: str, **fields: Any) -> None:
    """Create or change a run; ``fields`` are those of ``UpsertBucketInput``."""
    wanted = {"entityName": ENTITY, "modelName": project, "name": run, **fields}
    server.graphql(_UPSERT, input=wanted)


def stream(
    server: RunningSandbox,
    project: str,
    run: str,
    rows: Iterable[Mapping[str, Any]] = (),
    *,
    offset: int = 0,
    files: Mapping[str, list[str]] | None = None,
    **rest: Any,
) -> None:
    """One request of the file stream: history rows, lines of other files, and ``complete`` and such."""
    chunks: dict[str, Any] = {name: {"offset": 0, "content": lines} for name, lines in (files or {}).items()}
    if lines := [json.dumps(row) for row in rows]:
        chunks["wandb-history.jsonl"] = {"offset": offset, "content": lines}
    status, body = server.call(
        "POST", f"/files/{ENTITY}/{project}/{run}/file_stream", {"files": chunks, **rest}
    )
    assert status == 200, body


def export_history(server: RunningSandbox, project: str, run: str, rows: int = 1_000) -> int:
    """Have the server export what is live; returns how many files there are now."""
    wanted = {"entity": ENTITY, "project": project, "run": run, "rows": rows}
    status, body = server.call("POST", "/admin/history-exports", wanted)
    assert status == 200, body
    files: int = body["files"]
    return files


def finished(server: RunningSandbox, project: str, run: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """A run of these rows that has ended."""
    upsert(server, project, run)
    stream(server, project, run, rows, complete=True, exitcode=0)


def new_sweep(server: RunningSandbox, project: str) -> str:
    """The short id of a new sweep."""
    document = """mutation Sweep($input: UpsertSweepInput!) {
      upsertSweep(input: $input) { sweep { name } } }"""
    config = "method: random\nparameters: {lr: {values: [1, 2]}}\n"
    wanted = {"entityName": ENTITY, "projectName": project, "config": config}
    name: str = server.graphql(document, input=wanted)["upsertSweep"]["sweep"]["name"]
    return name
