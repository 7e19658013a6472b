"""What the machine and the console of a run told: system metrics and lines of output."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from engine.errors import Unsupported
from engine.records import ConsoleLine, ConsoleLines, HistoryRows, Run
from engine.transfer.context import Context
from engine.wandb.client import WandbClient
from engine.wandb.reading import documents
from engine.wandb.reading.pages import address, of_run, pages
from engine.wandb.reading.runs import counts_of
from engine.wandb.reading.values import parse

MOST_EVENTS = 50_000
"""Rows of system metrics that are asked for: they come in one answer. At the default of one row each 15 s
these are eight days; a longer run is thinned by the server to about as many, which is told as a loss."""

EVENTS_BY_DEFAULT = 10_000
"""Asked for if the server did not say how many there are."""


async def read_system_metrics(client: WandbClient, context: Context, run: Run) -> AsyncGenerator[HistoryRows]:
    """All rows, or as many as one answer may hold, evenly spread."""
    count = counts_of(run).events
    if count == 0:
        return
    subject = f"system metrics of run {run.id}"
    samples = min(MOST_EVENTS, EVENTS_BY_DEFAULT if count is None else count)
    data = await client.graphql(documents.EVENTS, {**address(run), "samples": samples}, subject)
    answer = of_run(data, subject, client)
    rows = [parse(line) for line in answer["events"]]
    there = answer.get("eventsLineCount") or 0
    if len(rows) < there and run.state.is_final:
        context.lose(
            "system_metrics_thinned",
            f"run {run.id}",
            f"the server gave {len(rows)} of {there} rows of system metrics",
            there - len(rows),
        )
    for first in range(0, len(rows), HistoryRows.CHUNK_ROWS):
        yield HistoryRows(first=first, rows=rows[first : first + HistoryRows.CHUNK_ROWS])


async def read_console(client: WandbClient, context: Context, run: Run) -> AsyncGenerator[ConsoleLines]:
    """All lines; of a server that cannot page through them, only the file ``output.log`` is left."""
    if counts_of(run).console_lines == 0:
        return
    subject = f"console of run {run.id}"
    found = pages(
        client,
        documents.CONSOLE,
        {**address(run), "perPage": ConsoleLines.CHUNK_LINES},
        lambda data: of_run(data, subject, client)["logLines"],
        subject,
    )
    try:
        async with aclosing(found) as listed:
            async for page in listed:
                if page:
                    yield ConsoleLines(
                        lines=[
                            ConsoleLine(
                                text=node["line"] or "",
                                time=node.get("timestamp"),
                                level=node.get("level"),
                                label=node.get("label"),
                            )
                            for node in page
                        ]
                    )
    except Unsupported as error:
        context.lose("console_without_times", f"run {run.id}", f"only as a file: {error.message}")
