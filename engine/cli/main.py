"""The ``engine`` command."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import engine
from engine.cli.demo import demo
from engine.cli.export import export
from engine.cli.loop import exit_status
from engine.cli.mapping import app as mapping
from engine.cli.migrate import migrate
from engine.cli.plan import plan
from engine.cli.report import report
from engine.cli.sandbox import sandbox
from engine.cli.status import status
from engine.cli.verify import verify
from engine.errors import EngineError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # a defect shows as a plain traceback, without locals that hold keys
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(engine.__version__)
        raise typer.Exit


def _flowing(command: Callable[..., None]) -> str:
    """The docstring of a command without the line breaks in its paragraphs, which Typer would keep.

    Paragraphs that begin with Click's mark for it, a backspace, stay as they are.
    """
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(text if text.startswith("\b") else text.replace("\n", " ") for text in paragraphs)


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Moves machine-learning experiment data between MLflow servers, W&B servers and local archives.

    Begin with [bold]engine demo[/]: it makes a sample MLflow store, starts a
    rehearsal server that speaks W&B's protocol, migrates one into the other
    and checks every point.
    """


app.command(help=_flowing(demo))(demo)
app.command(help=_flowing(plan))(plan)
app.command(help=_flowing(migrate))(migrate)
app.command(help=_flowing(verify))(verify)
app.add_typer(mapping, name="map")
app.command(help=_flowing(export))(export)
app.command(help=_flowing(status))(status)
app.command(help=_flowing(report))(report)
app.command(help=_flowing(sandbox))(sandbox)


def main() -> None:
    """Run the command line; the exit status is 0, 1, 2, 3 or 130 as the README explains."""
    try:
        app()
    except EngineError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error:[/] {escape(str(error))}")
        sys.exit(exit_status(error))


if __name__ == "__main__":
    main()
