"""``engine sandbox``."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from engine.cli.loop import on_interrupt, run_async
from engine.errors import ConfigError

if TYPE_CHECKING:
    from engine.sandbox.faults import Faults


def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 0,
    data_dir: Annotated[
        Path, typer.Option(help="Where its database and objects are kept; it continues there next time.")
    ] = Path(".transfer-engine/sandbox"),
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE", help="Something that goes wrong, see above. May be given many times."),
    ] = None,
    fault_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="Rules, one a line; # begins a comment."
        ),
    ] = None,
    fault_seed: Annotated[
        int, typer.Option(metavar="N", help="Another seed hits other requests; the same seed the same ones.")
    ] = 0,
) -> None:
    """Serve W&B's protocol on this machine, to rehearse a migration or to test against.

    Prints WANDB_BASE_URL and WANDB_API_KEY, then serves until Ctrl-C. The official wandb SDK works with
    it as it is; open the URL in a browser to look at what arrived.

    [bold]Bad days[/] are rehearsed with rules: WHERE: WHAT \\[HOW OFTEN] \\[WHEN]

    \b
    [cyan]--fault 'objects PUT: limit 50/s'[/]  SlowDown beyond 50 uploads a second
    [cyan]--fault 'graphql: limit 10/s burst 20 retry-after'[/]  429 with Retry-After beyond
    [cyan]--fault 'graphql: quota 1000/min'[/]  the same with RateLimit-Remaining and -Reset
    [cyan]--fault 'any: delay 40ms p99 400ms'[/]  a far server; or 40ms±20ms, or 40ms
    [cyan]--fault 'objects: reset mid-response 1%'[/]  or mid-request, or just reset
    [cyan]--fault 'objects PUT: stall 90s mid-request once'[/]  stops reading
    [cyan]--fault 'any: 503 from 10s for 30s'[/]  an outage; also 500, 502, SlowDown, InternalError, …
    [cyan]--fault 'graphql upsertBucket: lose-answer 5%'[/]  done, but nobody is told
    [cyan]--fault 'graphql,filestream: 401 from 1min'[/]  the key is revoked

    Places: graphql filestream objects pages any, a method, a /path/*, an operation of GraphQL. What else can
    happen: corrupt request, corrupt response, truncate, shorten, expire, expire in 5s, html. How often: 20%,
    once, 3 times, after 10 requests. When: from 10s, for 30s, every 5min, counted from the start or from the
    last request that `after` lets through. Rules can be changed while it runs, at /admin/faults.
    """
    from engine.sandbox.faults import BadRule, Faults
    from engine.sandbox.faults.language import rules_of

    rules = [*(rules_of(fault_file.read_text()) if fault_file else ()), *(fault or ())]
    try:
        faults = Faults(rules, seed=fault_seed)
    except BadRule as error:
        raise typer.BadParameter(str(error), param_hint="--fault") from error
    run_async(lambda: _serve(host, port, data_dir, faults))


async def _serve(host: str, port: int, data_dir: Path, faults: Faults) -> None:
    # The server's dependencies are only loaded by those who serve.
    from engine.sandbox import Sandbox

    stop = anyio.Event()
    server = Sandbox(data_dir=data_dir, host=host, port=port, faults=faults)
    async with AsyncExitStack() as running:
        await running.enter_async_context(on_interrupt(stop.set))
        try:
            await running.enter_async_context(server)
        except OSError as error:
            raise ConfigError(
                f"the sandbox cannot start: {error.strerror}",
                subject=error.filename or f"{host}:{port}",
                remedy="choose another --data-dir, --host or --port",
                exc=error,
            ) from error
        typer.echo(f"WANDB_BASE_URL={server.url}")
        typer.echo(f"WANDB_API_KEY={server.api_key}")
        typer.echo(f"# for example: engine migrate mlflow:… wandb:{server.url}/{server.entity}", err=True)
        await stop.wait()
    for rule in faults.describe()["rules"]:
        typer.echo(f"# {rule['acted']} of {rule['matched']} requests: {rule['rule']}", err=True)
