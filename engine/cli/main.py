"""The ``engine`` command.

Each command is loaded when it is run: what one brings along, others need not wait for.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

import engine
from engine.cli.flowing import flowing
from engine.errors import EngineError

SUMMARIES: Final[Mapping[str, str]] = {
    "demo": "Make a sample MLflow store, migrate it to a rehearsal server on this machine, and check every "
    "point.",
    "plan": "Tell what engine migrate would do with the same arguments, and write nothing anywhere.",
    "migrate": "Move experiments, runs, histories and artifacts from SOURCE to DESTINATION.",
    "verify": "Read DESTINATION back and compare it with SOURCE, item by item.",
    "map": "Look at a mapping file, as engine migrate takes it with --map.",
    "export": "Take runs out of SOURCE for analysis: a run table, full histories, files on request.",
    "status": "Show what arrived, what failed and why, and how to bring the rest.",
    "report": "Write what moved, how fast, what did not arrive and why, and what changed on the way.",
    "sandbox": "Serve W&B's protocol on this machine, to rehearse a migration or to test against.",
}
"""The commands, and what their help begins with."""

RICH: Final = "rich"


class Commands(TyperGroup):
    """Lists the commands without loading them.

    Typer has a Click of its own from some version on, so that its types have no name that always holds.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for name, summary in SUMMARIES.items():
            self.add_command(TyperCommand(name, help=summary, rich_markup_mode=RICH))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else loaded(name), rest


def loaded(name: str) -> Any:
    """A command as it is run."""
    if name == "map":
        return typer.main.get_command(import_module("engine.cli.mapping").app)
    function = getattr(import_module(f"engine.cli.{name}"), name)
    one = typer.Typer(rich_markup_mode=RICH, add_completion=False)
    one.command(name, help=flowing(function))(function)
    return typer.main.get_command(one)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=RICH,
    pretty_exceptions_enable=False,  # a defect shows as a plain traceback, without locals that hold keys
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(engine.__version__)
        raise typer.Exit


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


def main() -> None:
    """Run the command line; the exit status is 0, 1, 2, 3 or 130 as the README explains."""
    try:
        app()
    except EngineError as error:
        from engine.cli.loop import exit_status

        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error:[/] {escape(str(error))}")
        sys.exit(exit_status(error))


if __name__ == "__main__":
    main()
