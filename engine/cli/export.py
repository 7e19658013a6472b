"""``engine export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from engine.archive import ArchiveDestination
from engine.cli import arguments
from engine.cli import selecting as asked
from engine.cli.loop import run_async
from engine.cli.migrate import transfer
from engine.errors import ConfigError
from engine.export.choosing import Choice
from engine.export.rendering import Form, check, made_of, render
from engine.transfer.engine import Engine
from engine.transfer.options import Options
from engine.transfer.throttling.breaker import PATIENCE_S
from engine.verify.strict import check_kinds

STATE = ".state"
"""In the directory of the export, so that what arrived is known as long as it is there."""


def export(
    source: asked.SourceUri,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where to; a new directory, or that of an export.")
    ],
    format: Annotated[  # noqa: A002 - the name of the option
        Form,
        typer.Option(help="What to make besides the archive, which is Parquet and always made."),
    ] = Form.PARQUET,
    experiment: asked.Experiments = None,
    filter: Annotated[  # noqa: A002 - the name of the option
        str | None,
        typer.Option(
            help='Only runs that match, like MongoDB: {"state": "finished", "config.lr": {"$gt": 0.01}}; '
            "or in the source's own language.",
            rich_help_panel=asked.WHAT,
        ),
    ] = None,
    since: asked.Since = None,
    run: asked.RunIds = None,
    state: asked.States = None,
    order: asked.Order = None,
    limit: asked.Limit = None,
    include_deleted: asked.IncludeDeleted = False,
    live: asked.Live = True,
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--keys",
            metavar="KEY",
            help="Only this key of histories, and rows that have any of those given. Repeatable.",
            rich_help_panel=asked.WHAT,
        ),
    ] = None,
    history: asked.History = True,
    files: asked.Files = False,
    artifacts: asked.Artifacts = False,
    reports: asked.Reports = False,
    system_metrics: Annotated[
        bool,
        typer.Option(
            "--system-metrics/--no-system-metrics",
            help="System metrics and console output, where the source has them.",
            rich_help_panel=asked.WHAT,
        ),
    ] = False,
    parse_params: asked.ParseParams = False,
    artifact_root: asked.ArtifactRoots = None,
    concurrency: asked.Concurrency = None,
    max_rps: asked.MaxRps = None,
    patience: asked.Patience = PATIENCE_S,
    bandwidth: asked.Bandwidth = None,
    incremental: asked.Incremental = True,
    accept: asked.Accept = None,
    source_api_key_env: asked.SourceKey = None,
    json: asked.AsJson = False,
) -> None:
    """Take runs out of SOURCE for analysis: a run table, full histories, files on request.

    DIR becomes an archive: runs.parquet, a Parquet file for each history, and everything exact, so that
    engine migrate archive:DIR … brings it back. CSV, JSON lines or a DuckDB database are made of it besides.
    Running the same command again takes what is new or changed.

    [bold]Examples[/]

    engine export wandb:my-team/my-project --out ./my-project

    engine export mlflow:sqlite:///mlflow.db --out ./csv --format csv --keys loss --keys accuracy

    [bold]Exit status[/]  0 all arrived · 1 some items failed, each listed · 2 wrong usage, nothing started ·
    3 could not go on · 130 interrupted
    """
    check(format)
    check_kinds(accept or ())
    _make(out)
    # No source but these takes a JSON object for a filter; to all others we can do it ourselves.
    local = filter is not None and filter.lstrip().startswith("{") and source.startswith("mlflow:")
    origin = asked.source_of(
        source, key_variable=source_api_key_env, parse_params=parse_params, artifact_root=artifact_root
    )
    choice = None
    if keys or local:
        origin = choice = Choice(origin, keys=keys or None, filter_text=filter if local else None)
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
        concurrency=concurrency,
        max_rps=max_rps,
        patience_s=patience,
        bandwidth=arguments.size(bandwidth) if bandwidth else None,
        state_dir=out / STATE,
        incremental=incremental,
        recheck_artifacts=bool(artifact_root) and artifacts,
        accepted=frozenset(accept or ()),
        command=arguments.invocation(),
    )
    engine = Engine(origin, ArchiveDestination(str(out), logs=system_metrics), options)
    console = Console(stderr=True, soft_wrap=True)

    async def both() -> int:
        status = await transfer(engine, console, json=json)
        if choice is not None and choice.missed and engine.result.runs_done:
            told = ", ".join(sorted(choice.missed))
            console.print(f"[yellow]no history that was read has[/] {told}", highlight=False)
        if status in (0, 1):
            await render(out, format)
            console.print(f"{out} holds the archive and {', '.join(made_of(format))}", highlight=False)
        return status

    raise typer.Exit(run_async(both))


def _make(out: Path) -> None:
    """The directory, so that the state in it is not the first that finds out."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{out} cannot be made: {error.strerror}", remedy="give another directory with --out", exc=error
        ) from error
