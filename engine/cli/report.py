"""``engine report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli import selecting as asked
from engine.dashboard.model import build_report
from engine.dashboard.report import Format, format_of, rendered, write_report
from engine.transfer.ledger.ledger import DEFAULT_STATE_DIR

STDOUT = Path("-")


def report(
    state_dir: Annotated[
        Path, typer.Option(metavar="DIR", envvar="ENGINE_STATE_DIR", help="Where the ledger is.")
    ] = DEFAULT_STATE_DIR,
    ledger: asked.Ledger = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="By default what the ending of FILE says, else html."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write; - is standard output. By default html goes to report.html in the state "
            "directory, md and json to standard output.",
        ),
    ] = None,
) -> None:
    """Write what moved, how fast, what did not arrive and why, and what changed on the way.

    The page is one file that loads nothing from anywhere; send it to whoever asks. It can be made while a
    transfer runs, too.

    [bold]Examples[/]

    engine report

    engine report --out migration.html

    engine report --format md > migration.md
    """
    form = form or (format_of(out) if out not in (None, STDOUT) else Format.HTML)
    built = build_report(state_dir, ledger=ledger)
    if out is None and form is Format.HTML:
        out = state_dir / "report.html"
    if out in (None, STDOUT):
        typer.echo(rendered(built, form), nl=False)
        return
    write_report(built, out, form)
    typer.echo(f"wrote {out}", err=True)
