"""``engine migrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console

from engine.cli import arguments
from engine.cli import selecting as asked
from engine.cli.display import display_for, summarise
from engine.cli.loop import INTERRUPTED, exit_status, on_interrupt, run_async
from engine.cli.plan_display import show_plan
from engine.cli.verify import After, Afterwards
from engine.dashboard.model import build_report
from engine.dashboard.report import format_of, write_report
from engine.errors import EngineError
from engine.remapping.source import remapped
from engine.transfer.engine import Engine
from engine.transfer.ledger.ledger import DEFAULT_STATE_DIR
from engine.transfer.options import Options
from engine.transfer.throttling.breaker import PATIENCE_S
from engine.transfer.throttling.budget import DEFAULT_BYTES_IN_FLIGHT

VERIFICATION = "Afterwards"


def migrate(
    source: asked.SourceUri,
    destination: asked.DestinationUri,
    plan: asked.PlanOnly = False,
    sample: asked.Sample = None,
    experiment: asked.Experiments = None,
    filter: asked.Filter = None,  # noqa: A002 - the name of the option
    since: asked.Since = None,
    run: asked.RunIds = None,
    state: asked.States = None,
    order: asked.Order = None,
    limit: asked.Limit = None,
    include_deleted: asked.IncludeDeleted = False,
    live: asked.Live = True,
    history: asked.History = True,
    files: asked.Files = True,
    artifacts: asked.Artifacts = True,
    reports: asked.Reports = True,
    remap: asked.Remap = None,
    map_file: asked.MapFile = None,
    experiments_as: asked.ExperimentsAs = None,
    ids: asked.Ids = "keep",
    recreate: asked.Recreate = False,
    old_ledger: asked.OldLedger = None,
    materialise: asked.Materialise = False,
    parse_params: asked.ParseParams = False,
    artifact_root: asked.ArtifactRoots = None,
    concurrency: asked.Concurrency = None,
    max_rps: asked.MaxRps = None,
    patience: asked.Patience = PATIENCE_S,
    max_bytes_in_flight: Annotated[
        str, typer.Option(metavar="SIZE", help="Payload in memory at most.", rich_help_panel=asked.SPEED)
    ] = f"{DEFAULT_BYTES_IN_FLIGHT // 2**20}MiB",
    bandwidth: asked.Bandwidth = None,
    share: Annotated[
        bool,
        typer.Option(
            "--share",
            help="Divide the work with other engines that were started with --share and the same source, "
            "destination and ledger: on one machine with the same --state-dir, on several with a --ledger.",
            rich_help_panel=asked.SPEED,
        ),
    ] = False,
    state_dir: asked.StateDir = DEFAULT_STATE_DIR,
    ledger: asked.Ledger = None,
    incremental: asked.Incremental = True,
    recheck_artifacts: asked.RecheckArtifacts = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a report when it ends, however it ends: .html, .md or .json; see engine report.",
            rich_help_panel=asked.AGAIN,
        ),
    ] = None,
    verify: Annotated[
        After,
        typer.Option(
            envvar="ENGINE_VERIFY",
            help="Read back and compare what was moved or skipped, how closely: see engine verify.",
            rich_help_panel=VERIFICATION,
        ),
    ] = After.FULL,
    certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write the certificate; by default certificate.json in the state directory.",
            rich_help_panel=VERIFICATION,
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Exit with 1 if anything had to be changed on the way, unless it is accepted.",
            rich_help_panel=VERIFICATION,
        ),
    ] = False,
    accept: asked.Accept = None,
    source_api_key_env: asked.SourceKey = None,
    dest_api_key_env: asked.DestinationKey = None,
    json: asked.AsJson = False,
) -> None:
    """Move experiments, runs, histories and artifacts from SOURCE to DESTINATION.

    The source is only ever read. Running the same command again brings what is new, what changed and what
    failed, and doubles nothing. Ctrl-C finishes the runs in hand; a second Ctrl-C stops at once.

    [bold]Examples[/]

    engine migrate mlflow:sqlite:///mlflow.db wandb:my-team

    engine migrate mlflow:http://localhost:5000 wandb:my-team/imported --experiment resnet --since 2026-01-01

    [bold]Exit status[/]  0 all arrived and verified · 1 some items failed or differ, each listed · 2 wrong
    usage, nothing started · 3 could not go on · 130 interrupted
    """
    if sample is not None and not plan:
        raise typer.BadParameter("only a plan can be made from a sample", param_hint="--sample")
    report_form = format_of(report) if report else None
    mapping = asked.mapping_of(map_file)
    options = Options(
        selection=asked.selection(
            experiment=experiment,
            filter_by=filter,
            since=since,
            limit=limit,
            deleted=include_deleted,
            live=live,
            run_ids=run,
            states=state,
            order=order,
        ),
        history=history,
        files=files,
        artifacts=artifacts,
        reports=reports,
        remap=mapping.places(arguments.pairs(remap or (), "--remap")),
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
        old_ledger=old_ledger,
        accepted=frozenset(accept or ()),
        command=arguments.invocation(),
    )
    origin = asked.source_of(
        source,
        key_variable=source_api_key_env,
        parse_params=parse_params,
        artifact_root=artifact_root,
        materialise=materialise,
    )
    origin = remapped(origin, mapping)
    target = asked.destination_of(
        destination,
        key_variable=dest_api_key_env,
        experiments_as=experiments_as,
        ids=ids,
        recreate=recreate,
    )
    engine = Engine(origin, target, options)
    if plan:
        raise typer.Exit(run_async(lambda: show_plan(engine, sample=sample, json=json)))
    # What a mapping asked for needs no other acceptance.
    afterwards = Afterwards(
        level=verify.level, certificate=certificate, strict=strict, accepted={*(accept or ()), *mapping.kinds}
    )
    console = Console(stderr=True, soft_wrap=True)

    afterwards.check()

    async def both() -> int:
        status = await transfer(engine, console, json=json)
        return await afterwards.follow(origin, target, options, engine.result, status, console, json=json)

    try:
        status = run_async(both)
    except KeyboardInterrupt:
        # While nobody listened for it: before the transfer began, or between it and the verification.
        console.print(
            "[yellow]interrupted:[/] what arrived stays, and is not verified; run the same command again"
        )
        raise typer.Exit(INTERRUPTED) from None
    if report and report_form:
        built = build_report(state_dir, (origin.uri, target.uri), ledger=ledger)
        write_report(built, report, report_form)
    raise typer.Exit(status)


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
