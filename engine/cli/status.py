"""``engine status``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from engine.cli import selecting as asked
from engine.dashboard import readable
from engine.dashboard.model import Migration, build_report
from engine.transfer.ledger.items import State
from engine.transfer.ledger.ledger import DEFAULT_STATE_DIR
from engine.transfer.ledger.status import Failures

WATCH_S = 2.0

BUSY = 0.1
"""Looking again and again may take this share of the time at most."""

_TONES = {"good": "green", "bad": "red", "open": "yellow"}


def status(
    state_dir: Annotated[
        Path, typer.Option(metavar="DIR", envvar="ENGINE_STATE_DIR", help="Where the ledger is.")
    ] = DEFAULT_STATE_DIR,
    ledger: asked.Ledger = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per migration on stdout.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every two seconds, for as long as a transfer runs.")
    ] = False,
) -> None:
    """Show what arrived, what failed and why, and how to bring the rest.

    Reads the ledger of [bold]engine migrate[/], also while it runs in another process. Pending is what is
    under way, what was interrupted, and what belongs to runs that go on at the source.
    """
    looks = _looks(state_dir, ledger) if watch else iter([build_report(state_dir, ledger=ledger).migrations])
    if json:
        for migrations in looks:
            for migration in migrations:
                option = orjson.OPT_NON_STR_KEYS
                told = orjson.dumps(_for_programs(migration), option=option).decode()
                typer.echo(readable.without_secrets(told))
        return
    console = Console(highlight=False)
    if watch and console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for migrations in looks:
                live.update(Group(*map(_for_people, migrations)), refresh=True)
        return
    for migrations in looks:
        for migration in migrations:
            console.print(_for_people(migration), soft_wrap=True)


def _looks(state_dir: Path, ledger: str | None) -> Iterator[tuple[Migration, ...]]:
    """Again and again, until nothing runs; large ledgers less often."""
    while True:
        began = time.monotonic()
        migrations = build_report(state_dir, ledger=ledger).migrations
        yield migrations
        if not any(migration.running for migration in migrations):
            return
        time.sleep(max(WATCH_S, (time.monotonic() - began) / BUSY))


def _for_programs(migration: Migration) -> dict[str, Any]:
    told = asdict(migration.status)
    running = migration.running
    rates = running and running.rates()
    told.update(
        verdict=asdict(migration.verdict),
        command=migration.command,
        running=running
        and {
            "pid": running.pid,
            "host": running.host,
            "since": running.began_at,
            "per_second": rates and asdict(rates),
            "progress": asdict(running.last),
        },
    )
    return told


def _for_people(migration: Migration) -> RenderableType:
    status, verdict = migration.status, migration.verdict
    parts: list[RenderableType] = [
        Text(f"{readable.shown(status.source, 300)} → {readable.shown(status.destination, 300)}", "bold"),
        Text.assemble(
            (verdict.title, f"bold {_TONES[verdict.tone]}"), f"  {readable.shown(verdict.text, 600)}"
        ),
    ]
    if (running := migration.running) is not None:
        since = readable.moment(running.began_at)
        parts.append(Text(f"process {running.pid} on {readable.shown(running.host)} since {since}", "dim"))
    if status.counts:
        parts += [Text(), _table(migration)]
        totals = status.totals
        parts.append(
            Text(
                f"{readable.counted(totals.points, 'point')}, {readable.counted(totals.files, 'file')}, "
                f"{readable.size(totals.bytes)} in all",
                "dim",
            )
        )
    parts += [part for failures in status.failures for part in _cause(failures)]
    if status.causes > len(status.failures):
        parts.append(Text(f"and {readable.counted(status.causes - len(status.failures), 'other cause')}"))
    if status.unfinished and running is None:
        parts += [
            Text("\nTo bring the rest, run the same command again:"),
            Text(f"  {readable.shown(migration.command, 2_000)}", "bold"),
        ]
    return Group(*parts, Text())


def _table(migration: Migration) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for state in State:
        table.add_column(state, justify="right")
    for kind, counts in migration.status.counts.items():
        cells = [
            Text(
                readable.number(counts.get(state, 0)),
                "red" if state is State.FAILED and counts.get(state) else "",
            )
            for state in State
        ]
        table.add_row(kind, *cells)
    return table


def _cause(failures: Failures) -> Iterator[Text]:
    cause, last = failures.cause, readable.moment(failures.last_at / 1000)
    yield Text.assemble(
        "\n",
        (f"{readable.number(failures.count)} × {failures.kind}", "red"),
        f"  {readable.shown(failures.pattern, 300)}",
        (f"  {cause.kind} at the {cause.side}, last {last}", "dim"),
    )
    for example in failures.examples[:2]:
        message = readable.shown(example.message, 300)
        said = f": {message}" if message != failures.pattern else ""
        yield Text(f"    for example {readable.shown(example.subject)}{said}")
    if cause.remedy:
        yield Text(f"    → {readable.shown(cause.remedy, 300)}")
