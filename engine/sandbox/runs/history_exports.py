"""Histories exported to Parquet, as the service does in the background with rows that are some time old.

    POST /admin/history-exports {"entity": "…", "project": "…", "run": "…", "rows": 1000}

exports the rows of a run that are not exported yet, into files of so many rows. What is exported is no longer
among the live rows: a range of steps then gives only the others. Who changes an exported line, or rewinds
the run, makes the exports void.
"""

from __future__ import annotations

import asyncio
import io
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from aiohttp import web

from engine.sandbox.context import CALL, Call
from engine.sandbox.database import Database, tables
from engine.sandbox.json_text import loads
from engine.sandbox.refusals import bad_request
from engine.sandbox.runs import runs
from engine.sandbox.storage.doomed import doom

tables(
    """
    CREATE TABLE IF NOT EXISTS history_exports (
        run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, number INTEGER NOT NULL,
        stop_line INTEGER NOT NULL, PRIMARY KEY (run, number)
    ) WITHOUT ROWID;
    """
)

ROWS = 100_000
"""Rows in a file, if nobody says."""


def first_live_line(db: Database, run: int) -> int:
    """The number of the first line that is not exported."""
    stop: int | None = db.value("SELECT max(stop_line) FROM history_exports WHERE run = ?", (run,))
    return stop or 0


def urls(call: Call, run: int) -> list[str]:
    """Where to GET the exported files of a run, in the order of their rows."""
    return [call.objects.download_url(_key(run, number)) for number in _numbers(call.db, run)]


def doom_exports(call: Call, run: int, line: int = 0) -> None:
    """Make the exports of a run void with the transaction under way, if they reach beyond ``line``."""
    if line < first_live_line(call.db, run):
        doom(call.db, call.objects, (_key(run, number) for number in _numbers(call.db, run)))
        call.db.execute("DELETE FROM history_exports WHERE run = ?", (run,))


async def export(request: web.Request) -> web.Response:
    """Export what is live of one run."""
    call = request[CALL]
    given = orjson.loads(await request.read())
    run = runs.writable(call, given["entity"], given["project"], given["run"]).number
    first = first_live_line(call.db, run)
    lines = call.db.all(
        "SELECT line, row FROM history WHERE run = ? AND line >= ? ORDER BY step, line", (run, first)
    )
    if lines:
        stop = max(line["line"] for line in lines) + 1
        size, number = int(given.get("rows", ROWS)), len(_numbers(call.db, run))
        for start in range(0, len(lines), size):
            content = _parquet([loads(line["row"]) for line in lines[start : start + size]])
            await asyncio.to_thread(call.objects.put, _key(run, number), content)
            call.db.execute("INSERT INTO history_exports VALUES (?, ?, ?)", (run, number, stop))
            number += 1
    return web.json_response({"files": len(_numbers(call.db, run))})


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    columns = dict.fromkeys(key for row in rows for key in row)
    if any("_step" not in row for row in rows):
        raise bad_request("a row without _step cannot be exported")
    try:
        table = pa.table({key: pa.array([row.get(key) for row in rows]) for key in columns})
        sink = io.BytesIO()
        pq.write_table(table, sink)
    except (pa.ArrowException, OverflowError) as error:
        raise bad_request(f"the rows make no table: {error}") from error
    return sink.getvalue()


def _numbers(db: Database, run: int) -> list[int]:
    found = db.all("SELECT number FROM history_exports WHERE run = ? ORDER BY number", (run,))
    return [row["number"] for row in found]


def _key(run: int, number: int) -> str:
    return f"history/{run}/{number}.parquet"


ROUTES = [web.post("/admin/history-exports", export)]
