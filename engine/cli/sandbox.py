"""``engine sandbox``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio
import typer

from engine.cli.loop import on_interrupt, run_async


def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 0,
    data_dir: Annotated[
        Path, typer.Option(help="Where its database and objects are kept; it continues there next time.")
    ] = Path(".transfer-engine/sandbox"),
) -> None:
    """Serve W&B's protocol on this machine, to rehearse a migration or to test against.

    Prints WANDB_BASE_URL and WANDB_API_KEY, then serves until Ctrl-C. The official wandb SDK works with
    it as it is; open the URL in a browser to look at what arrived.
    """
    run_async(lambda: _serve(host, port, data_dir))


async def _serve(host: str, port: int, data_dir: Path) -> None:
    # The server's dependencies are only loaded by those who serve.
    from engine.sandbox import Sandbox

    stop = anyio.Event()
    async with on_interrupt(stop.set), Sandbox(data_dir=data_dir, host=host, port=port) as server:
        typer.echo(f"WANDB_BASE_URL={server.url}")
        typer.echo(f"WANDB_API_KEY={server.api_key}")
        typer.echo(f"# for example: engine migrate mlflow:… wandb:{server.url}/{server.entity}", err=True)
        await stop.wait()
