"""``engine migrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console

from engine.cli import arguments
from engine.cli.display import display_for, summarise
from engine.cli.loop import INTERRUPTED, exit_status, on_interrupt, run_async
from engine.errors import EngineError
from engine.protocols import SystemOptions, open_destination, open_source
from engine.records import Selection
from engine.transfer.breaker import PATIENCE_S
from engine.transfer.budget import DEFAULT_BYTES_IN_FLIGHT
from engine.transfer.engine import Engine
from engine.transfer.ledger import DEFAULT_STATE_DIR
from engine.transfer.options import Options

WHAT = "What to move"
HOW = "How it arrives"
AGAIN = "The next time"
SPEED = "Speed and limits"
ACCESS = "Access"


def migrate(
    source: Annotated[
        str,
        typer.Argument(
            help="For example mlflow:http://localhost:5000, mlflow:sqlite:///mlflow.db, mlflow:./mlruns, "
            "mlflow:databricks://profile."
        ),
    ],
    destination: Annotated[
        str,
        typer.Argument(
            help="For example wandb:team/project, wandb:team (an experiment becomes a project), "
            "wandb:https://wandb.example.com/team."
        ),
    ],
    experiment: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this experiment: a name, an id, or re:PATTERN. Repeatable.", rich_help_panel=WHAT
        ),
    ] = None,
    filter: Annotated[  # noqa: A002 - the name of the option
        str | None,
        typer.Option(
            help='Only runs that match, in the source\'s language: "metrics.loss < 0.1" for MLflow.',
            rich_help_panel=WHAT,
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only runs started at or after this date.", rich_help_panel=WHAT)
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=0, help="At most this many runs.", rich_help_panel=WHAT)
    ] = None,
    include_deleted: Annotated[
        bool, typer.Option(help="Also experiments and runs in the trash.", rich_help_panel=WHAT)
    ] = False,
    history: Annotated[
        bool, typer.Option("--history/--no-history", help="Metric histories.", rich_help_panel=WHAT)
    ] = True,
    files: Annotated[
        bool, typer.Option("--files/--no-files", help="Files of runs.", rich_help_panel=WHAT)
    ] = True,
    artifacts: Annotated[
        bool, typer.Option("--artifacts/--no-artifacts", help="Artifacts.", rich_help_panel=WHAT)
    ] = True,
    remap: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SRC=DST",
            help="Send an experiment (or entity/project) to another project or entity/project. Repeatable.",
            rich_help_panel=HOW,
        ),
    ] = None,
    experiments_as: Annotated[
        str | None,
        typer.Option(
            metavar="project|group",
            help="What an experiment becomes. By default a project if DESTINATION names only an entity, "
            "a group if it names a project.",
            rich_help_panel=HOW,
        ),
    ] = None,
    parse_params: Annotated[
        bool,
        typer.Option(
            help="Params that are written as numbers, true/false or null become such; "
            "by default they stay the strings that MLflow keeps.",
            rich_help_panel=HOW,
        ),
    ] = False,
    artifact_root: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW",
            help="Read artifacts whose URI starts with OLD from NEW, for a store that was moved.",
            rich_help_panel=HOW,
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Requests in flight per host and kind of endpoint.", rich_help_panel=SPEED),
    ] = None,
    max_rps: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Requests per second per host and kind of endpoint at most. Without it the engine finds "
            "what the servers allow.",
            rich_help_panel=SPEED,
        ),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="A server that goes down is waited for so long; then the exit status is 3.",
            rich_help_panel=SPEED,
        ),
    ] = PATIENCE_S,
    max_bytes_in_flight: Annotated[
        str, typer.Option(metavar="SIZE", help="Payload in memory at most.", rich_help_panel=SPEED)
    ] = f"{DEFAULT_BYTES_IN_FLIGHT // 2**20}MiB",
    bandwidth: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="Bytes of files and artifacts per second at most, on each side: 100MB, 20MiB.",
            rich_help_panel=SPEED,
        ),
    ] = None,
    state_dir: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            envvar="ENGINE_STATE_DIR",
            help="Where the ledger is kept of what arrived; one directory serves any number of migrations, "
            "one at a time.",
            rich_help_panel=AGAIN,
        ),
    ] = DEFAULT_STATE_DIR,
    ledger: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="ENGINE_LEDGER",
            help="Keep the ledger in this database instead: postgresql://user@host/database. Better in the "
            "environment, where nobody sees the password.",
            rich_help_panel=AGAIN,
        ),
    ] = None,
    share: Annotated[
        bool,
        typer.Option(
            "--share",
            help="Divide the runs with other engines that were started with --share and the same source, "
            "destination and ledger: on one machine with the same --state-dir, on several with a --ledger.",
            rich_help_panel=SPEED,
        ),
    ] = False,
    incremental: Annotated[
        bool,
        typer.Option(
            "--incremental/--no-incremental",
            help="Leave out runs that arrived and did not change since; or apply everything again.",
            rich_help_panel=AGAIN,
        ),
    ] = True,
    recheck_artifacts: Annotated[
        bool,
        typer.Option(
            help="List the artifacts of such runs all the same, and bring those whose files changed; "
            "--artifact-root implies it.",
            rich_help_panel=AGAIN,
        ),
    ] = False,
    source_api_key_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Environment variable with the source's key.", rich_help_panel=ACCESS
        ),
    ] = None,
    dest_api_key_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Environment variable with the destination's key. By default WANDB_API_KEY, or netrc.",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object per event on stdout; text goes to stderr.")
    ] = False,
) -> None:
    """Move experiments, runs, histories and artifacts from SOURCE to DESTINATION.

    The source is only ever read. Running the same command again brings what is new, what changed and what
    failed, and doubles nothing. Ctrl-C finishes the runs in hand; a second Ctrl-C stops at once.

    [bold]Examples[/]

    engine migrate mlflow:sqlite:///mlflow.db wandb:my-team

    engine migrate mlflow:http://localhost:5000 wandb:my-team/imported --experiment resnet --since 2026-01-01

    [bold]Exit status[/]  0 all arrived · 1 some items failed, each listed · 2 wrong usage, nothing started ·
    3 could not go on · 130 interrupted
    """
    if experiments_as not in (None, "project", "group"):
        raise typer.BadParameter("write project or group", param_hint="--experiments-as")
    options = Options(
        selection=Selection(
            projects=tuple(experiment or ()),
            filter=filter,
            since=arguments.time_ms(since) if since else None,
            limit=limit,
            include_deleted=include_deleted,
        ),
        history=history,
        files=files,
        artifacts=artifacts,
        remap=arguments.pairs(remap or (), "--remap"),
        concurrency=concurrency,
        max_rps=max_rps,
        patience_s=patience,
        max_bytes_in_flight=arguments.size(max_bytes_in_flight),
        bandwidth=arguments.size(bandwidth) if bandwidth else None,
        state_dir=state_dir,
        ledger=ledger,
        share=share,
        incremental=incremental,
        # Whoever says where artifacts are wants those that could not be found before.
        recheck_artifacts=recheck_artifacts or bool(artifact_root),
    )
    from_system = open_source(
        source,
        SystemOptions(
            api_key=arguments.secret(source_api_key_env, "--source-api-key-env"),
            parse_params=parse_params,
            artifact_roots=arguments.pairs(artifact_root or (), "--artifact-root"),
        ),
    )
    to_system = open_destination(
        destination,
        SystemOptions(
            api_key=arguments.secret(dest_api_key_env, "--dest-api-key-env"), experiments_as=experiments_as
        ),
    )
    engine = Engine(from_system, to_system, options)
    raise typer.Exit(run_async(lambda: transfer(engine, Console(stderr=True, soft_wrap=True), json=json)))


async def transfer(engine: Engine, console: Console, *, json: bool = False) -> int:
    """Run a transfer, show it, and return the exit status."""
    display = display_for(console, json=json)
    stop = anyio.CancelScope()

    def drain() -> None:
        console.print("[yellow]finishing the runs in hand; press Ctrl-C again to stop at once[/]")
        engine.drain()

    error: EngineError | None = None
    with stop:
        async with engine, on_interrupt(drain, stop.cancel):
            with display.live():
                async for event in engine.events():
                    display.show(event)
            try:
                await engine.run()
            except EngineError as fatal:
                error = fatal
    if error is not None and not engine.result.runs_found:
        raise error  # nothing was begun that a summary could tell of
    summarise(console, engine.result, str(error) if error else None)
    if stop.cancelled_caught:
        return INTERRUPTED
    return engine.result.exit_status if error is None else exit_status(error)
