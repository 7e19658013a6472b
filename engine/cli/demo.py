"""``engine demo``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console

from engine.cli.loop import on_interrupt, run_async
from engine.cli.migrate import transfer
from engine.demo.check import compare
from engine.demo.store import tracking_uri
from engine.errors import ConfigError
from engine.protocols import SystemOptions, open_destination, open_source
from engine.transfer.engine import Engine

DIFFERENCES_SHOWN = 10

MARKER = ".made-by-engine-demo"
"""Tells a directory that a demo may replace."""


def demo(
    directory: Annotated[
        Path, typer.Option("--dir", help="Where the sample store and the rehearsal server keep their data.")
    ] = Path("engine-demo"),
    serve: Annotated[
        bool | None,
        typer.Option(
            "--serve/--no-serve",
            help="Keep the server running afterwards, to look around. By default on a terminal.",
        ),
    ] = None,
) -> None:
    """Make a sample MLflow store, migrate it to a rehearsal server on this machine, and check every point.

    Needs no account and no network. A second run starts from scratch.
    """
    console = Console(stderr=True, soft_wrap=True)
    keep_serving = console.is_terminal if serve is None else serve
    raise typer.Exit(run_async(lambda: _demo(directory, console, serve=keep_serving)))


async def _demo(directory: Path, console: Console, *, serve: bool) -> int:
    from engine.sandbox import Sandbox

    home = await anyio.to_thread.run_sync(_fresh, directory)
    store, data_dir = home / "mlflow", home / "sandbox"
    store.mkdir()
    console.print(f"1. making an MLflow store with the real MLflow client: {store}/mlflow.db")
    await _make_store(store)
    async with Sandbox(data_dir=data_dir) as server:
        console.print(f"2. a W&B-protocol server listens at {server.url}")
        console.print(f"3. engine migrate mlflow:{tracking_uri(store)} wandb:{server.url}/{server.entity}")
        engine = Engine(
            open_source(f"mlflow:{tracking_uri(store)}"),
            open_destination(f"wandb:{server.url}/{server.entity}", SystemOptions(api_key=server.api_key)),
        )
        status = await transfer(engine, console)
        console.print("4. reading everything back from the server and comparing it with the store")
        comparison = await compare(store, server.url, server.api_key, server.entity)
        for difference in comparison.differences[:DIFFERENCES_SHOWN]:
            console.print(f"[red]differs[/] {difference}", highlight=False)
        if comparison.differences:
            console.print(f"[red]{len(comparison.differences)} differences[/]")
            return 1
        console.print(
            f"[green]verified[/] {comparison.runs} runs, {comparison.points:,} metric points and "
            f"{comparison.files} files are equal on both sides"
        )
        if serve:
            stop = anyio.Event()
            console.print(f"Look around at {server.url} — Ctrl-C ends it.")
            async with on_interrupt(stop.set):
                await stop.wait()
    console.print(f"To look at it again: engine sandbox --data-dir {data_dir}")
    return status


def _fresh(directory: Path) -> Path:
    """An empty directory in place of what an earlier demo left there.

    Raises:
        ConfigError: the directory holds something else.
    """
    marker = directory / MARKER
    if directory.exists():
        if any(directory.iterdir()) and not marker.exists():
            raise ConfigError(
                f"{directory} is not empty and was not made by a demo", remedy="name another one with --dir"
            )
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    marker.touch()
    return directory.resolve()


async def _make_store(directory: Path) -> None:
    # In a process of its own, because MLflow sets up logging for the process that it is imported in.
    made = await anyio.run_process(
        [sys.executable, "-m", "engine.demo.store", str(directory)], check=False, stderr=subprocess.STDOUT
    )
    if made.returncode:
        typer.echo(made.stdout.decode(errors="replace"), err=True)
        raise typer.Exit(3)
