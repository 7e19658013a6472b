"""``engine status``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine.transfer.ledger import DEFAULT_STATE_DIR
from engine.transfer.ledger_schema import State
from engine.transfer.ledger_status import MigrationStatus, read_status


def status(
    state_dir: Annotated[
        Path, typer.Option(metavar="DIR", envvar="ENGINE_STATE_DIR", help="Where the ledger is.")
    ] = DEFAULT_STATE_DIR,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per migration on stdout.")] = False,
) -> None:
    """Show what arrived, what failed and why, and how to bring the rest.

    Reads the ledger of [bold]engine migrate[/], also while it runs. Pending is what is under way, what was
    interrupted, and what belongs to runs that go on at the source.
    """
    migrations = read_status(state_dir)
    if json:
        for migration in migrations:
            typer.echo(orjson.dumps(migration, option=orjson.OPT_NON_STR_KEYS).decode())
        return
    console = Console(soft_wrap=True, highlight=False)
    for migration in migrations:
        _show(console, migration)


def _show(console: Console, migration: MigrationStatus) -> None:
    began = datetime.fromtimestamp(migration.created_at / 1000, UTC)
    console.print(f"[bold]{escape(migration.source)} → {escape(migration.destination)}[/]")
    console.print(f"first begun {began:%Y-%m-%d %H:%M} UTC")
    if not migration.counts:
        console.print("nothing was transferred yet\n")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for state in State:
        table.add_column(state, justify="right")
    for kind, counts in migration.counts.items():
        table.add_row(kind, *(f"{counts.get(state, 0):,}" for state in State))
    console.print(table)
    for failures in migration.failures:
        cause = failures.cause
        console.print(
            f"[red]failed[/] {failures.count:,} × {failures.kind}: {cause.side}: {cause.kind}: "
            f"{escape(cause.message)} (for example {escape(failures.examples[0].subject)})"
        )
        if cause.remedy:
            console.print(f"       {escape(cause.remedy)}")
    if any(counts.get(State.FAILED) or counts.get(State.PENDING) for counts in migration.counts.values()):
        console.print(
            "To bring the rest, run the same command again: "
            f"engine migrate {escape(migration.source)} {escape(migration.destination)} …"
        )
    console.print()
