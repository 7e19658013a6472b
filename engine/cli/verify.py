"""``engine verify``, and the verification that follows a migration."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console

from engine.cli import arguments
from engine.cli import selecting as asked
from engine.cli.loop import INTERRUPTED, exit_status, on_interrupt, run_async
from engine.cli.markup import plain
from engine.cli.verify_display import following, show_findings
from engine.errors import EngineError
from engine.protocols import Destination, Source, Verifiable
from engine.remapping.source import remapped
from engine.transfer.ledger.identity import IdMap
from engine.transfer.ledger.ledger import DEFAULT_STATE_DIR
from engine.transfer.ledger.reading import read_ledger
from engine.transfer.options import Options, Result
from engine.transfer.throttling.breaker import PATIENCE_S
from engine.verify.certificate import NAME, Certificate, certificate
from engine.verify.findings import Findings, Level, Verified
from engine.verify.recheck import Recheck
from engine.verify.strict import Unaccepted, check_kinds, unaccepted
from engine.verify.verifier import Verifier, VerifyOptions


def verify(
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="As for engine migrate; not needed with a certificate."),
    ] = None,
    destination: Annotated[
        str | None, typer.Argument(metavar="DESTINATION", help="As for engine migrate.")
    ] = None,
    level: Annotated[
        Level,
        typer.Option(
            help="counts: what listings tell. full: also every point, and every file by size and MD5. "
            "deep: also the bytes of every file on both sides."
        ),
    ] = Level.FULL,
    deep: Annotated[bool, typer.Option("--deep", help="The same as --level deep.")] = False,
    certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write the certificate, by default certificate.json in the state directory. "
            "Without SOURCE: the certificate to check DESTINATION against.",
        ),
    ] = None,
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
    materialise: asked.Materialise = False,
    parse_params: asked.ParseParams = False,
    artifact_root: asked.ArtifactRoots = None,
    concurrency: asked.Concurrency = None,
    max_rps: asked.MaxRps = None,
    patience: asked.Patience = PATIENCE_S,
    state_dir: asked.StateDir = DEFAULT_STATE_DIR,
    ledger: asked.Ledger = None,
    accept: asked.Accept = None,
    source_api_key_env: asked.SourceKey = None,
    dest_api_key_env: asked.DestinationKey = None,
    json: asked.AsJson = False,
) -> None:
    """Read DESTINATION back and compare it with SOURCE, item by item.

    Neither side is written to. Options mean what they mean to [bold]engine migrate[/]; give the same ones.
    Whatever the destination cannot hold as it was is declared, not counted as a difference.

    [bold]Examples[/]

    engine verify mlflow:sqlite:///mlflow.db wandb:my-team

    engine verify mlflow:http://localhost:5000 wandb:my-team/imported --deep --certificate proof.json

    engine verify --certificate proof.json

    [bold]Exit status[/]  0 no difference · 1 differences, or something could not be compared, each listed ·
    2 wrong usage or configuration · 3 a side cannot be used · 130 interrupted
    """
    console = Console(stderr=True, soft_wrap=True)
    mapping = asked.mapping_of(map_file)
    options = VerifyOptions(
        level=Level.DEEP if deep else level,
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
        parts=Options(history=history, files=files, artifacts=artifacts).parts,
        reports=reports,
        remap=mapping.places(arguments.pairs(remap or (), "--remap")),
        concurrency=concurrency,
        max_rps=max_rps,
        patience_s=patience,
        accepted=frozenset(accept or ()),
    )
    check_kinds(options.accepted)
    if destination is None:
        if certificate is None:
            raise typer.BadParameter("name SOURCE and DESTINATION, or a certificate with --certificate")
        told = Certificate.read(certificate)
        target = asked.destination_of(
            source or told.destination.uri, key_variable=dest_api_key_env, experiments_as=experiments_as
        )
        raise typer.Exit(run_async(lambda: _recheck(told, target, options, console, json=json)))
    assert source is not None
    origin = asked.source_of(
        source,
        key_variable=source_api_key_env,
        parse_params=parse_params,
        artifact_root=artifact_root,
        materialise=materialise,
    )
    origin = remapped(origin, mapping)
    target = asked.destination_of(
        destination, key_variable=dest_api_key_env, experiments_as=experiments_as, ids=ids
    )
    path = certificate or state_dir / NAME

    async def verified() -> int:
        return await _verify(
            origin, target, options, path, console, state_dir=state_dir, ledger=ledger, json=json
        )

    raise typer.Exit(run_async(verified))


async def _verify(
    origin: Source,
    target: Destination,
    options: VerifyOptions,
    path: Path,
    console: Console,
    *,
    state_dir: Path,
    ledger: str | None,
    json: bool,
) -> int:
    async with read_ledger(origin.uri, target.uri, state_dir=state_dir, url=ledger) as known:
        options = replace(options, ids=IdMap(known))
        findings = await compare(origin, target, options, path, console, json=json)
    return INTERRUPTED if findings is None else findings.exit_status


async def compare(
    origin: Source,
    target: Destination,
    options: VerifyOptions,
    path: Path,
    console: Console,
    *,
    json: bool,
    transfer: Result | None = None,
) -> Findings | None:
    """Compare, show what is found, and write the certificate; None if that was interrupted.

    Where there was nothing to compare, nothing is certified.
    """
    stop, written = anyio.CancelScope(), None
    findings: Findings | None = None
    with certificate(path) as writer, stop:
        async with on_interrupt(stop.cancel):
            with following(console, json=json) as show:
                findings = await Verifier(origin, target, options, emit=show, record=writer).run()
                if not findings.is_empty:
                    await anyio.to_thread.run_sync(writer.write, findings, transfer)
                    written = path
                show(Verified.of(findings, str(written) if written else None))
    if findings is None or stop.cancelled_caught:
        console.print("[yellow]interrupted: what was not reached is not verified[/]")
        return None
    # The summary of a transfer has told what was changed on the way, and what did not arrive.
    show_findings(console, findings, written, declared=transfer is None, told=set(options.failed.values()))
    return findings


async def _recheck(
    told: Certificate, target: Destination, options: VerifyOptions, console: Console, *, json: bool
) -> int:
    console.print(
        f"certificate of {told.ended_at} over {len(told.runs):,} runs of {plain(told.source.uri)}",
        highlight=False,
    )
    if told.differences:
        console.print(f"[yellow]note[/] there were {told.differences:,} differences when it was written")
    stop = anyio.CancelScope()
    with stop:
        async with on_interrupt(stop.cancel):
            with following(console, json=json) as show:
                findings = await Recheck(told, target, options, show).run()
                show(Verified.of(findings, None))
            show_findings(console, findings, None)
            return findings.exit_status
    return INTERRUPTED


# -- after a migration ----------------------------------------------------------------------------


class After(StrEnum):
    """How closely to look when a migration is through."""

    NONE = "none"
    COUNTS = "counts"
    FULL = "full"
    DEEP = "deep"

    @property
    def level(self) -> Level | None:
        return None if self is After.NONE else Level(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Afterwards:
    """What is to be done when a migration is through.

    Attributes:
        level: None to verify nothing.
        certificate: where to write one, None for the state directory.
        strict: whether a change of any kind that is not ``accepted`` is an error.
    """

    level: Level | None
    certificate: Path | None = None
    strict: bool = False
    accepted: Collection[str] = ()

    def check(self) -> None:
        """Whether it can be done as it was asked for, before anything is begun.

        Raises:
            ConfigError: a certificate cannot be written there, or a kind to accept does not exist.
        """
        check_kinds(self.accepted)
        if self.level is not None and self.certificate is not None:
            with certificate(self.certificate):
                pass

    async def follow(
        self,
        origin: Source,
        target: Destination,
        options: Options,
        result: Result,
        status: int,
        console: Console,
        *,
        json: bool,
    ) -> int:
        """Verify what a migration moved or skipped; the exit status of both.

        Args:
            status: of the migration; one that could not go on, or was interrupted, is not verified.
        """
        if status not in (0, 1):
            if self.level is not None:
                console.print("[yellow]not verified[/], because the migration did not come to its end")
            return status
        findings = None
        if self.level is not None and (why := _not_worth_it(target, options, result)) is not None:
            console.print(f"[yellow]not verified[/]: {why}")
        elif self.level is not None:
            state_dir, url = options.state_dir, options.ledger
            asked_for = _as_migrated(options, result, self.level)
            path = self.certificate or (state_dir or DEFAULT_STATE_DIR) / NAME
            try:
                async with read_ledger(origin.uri, target.uri, state_dir=state_dir, url=url) as known:
                    asked_for = replace(asked_for, ids=IdMap(known))
                    findings = await compare(
                        origin, target, asked_for, path, console, json=json, transfer=result
                    )
            except EngineError as error:
                # All that was moved has arrived; that must not look as if it had not.
                console.print(f"[red]verification stopped:[/] {plain(str(error))}", highlight=False)
                return exit_status(error)
            if findings is None:
                return INTERRUPTED
            status = max(status, findings.exit_status)
        refused = unaccepted(result, findings, self.accepted) if self.strict else []
        for change in refused:
            _show_unaccepted(console, change)
        return 1 if refused else status


def _not_worth_it(target: Destination, options: Options, result: Result) -> str | None:
    if not isinstance(target, Verifiable):
        return "this destination cannot be read back"
    if options.share:
        return "other engines may still be at work; run engine verify when all are through"
    if result.failure_count > Result.MAX_FAILURES:
        return f"{result.failure_count:,} items did not arrive; bring them first, by the same command"
    return None


def _as_migrated(options: Options, result: Result, level: Level) -> VerifyOptions:
    failed: Mapping[str, str] = {
        failure.run or failure.subject: f"did not arrive: {failure.message}" for failure in result.failures
    }
    selection = options.selection
    if selection.limit is not None:
        # It was one of work: this many were found on the way, with those that had arrived before.
        selection = replace(selection, limit=result.runs_found)
    return VerifyOptions(
        level=level,
        selection=selection,
        parts=options.parts,
        reports=options.reports,
        remap=options.remap,
        failed=failed,
        # Runs of earlier migrations, with other options, may be there too.
        complete=False,
        concurrency=options.concurrency,
        max_rps=options.max_rps,
        patience_s=options.patience_s,
        spool=options.spool,
        accepted=options.accepted,
    )


def _show_unaccepted(console: Console, change: Unaccepted) -> None:
    console.print(
        f"[red]strict[/] {change.kind} × {change.count:,}, for example {plain(change.example)}: "
        f"{plain(change.remedy)}",
        highlight=False,
    )
