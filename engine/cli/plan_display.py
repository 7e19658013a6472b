"""A plan as a person reads it, or a program."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import orjson
from rich.console import Console
from rich.table import Table

from engine.cli.display import described, scaled
from engine.cli.markup import plain
from engine.errors import EngineError, PreflightError, Problem
from engine.transfer.engine import Engine
from engine.transfer.planning.plan import Amount, Plan, PlannedProject

SHOWN_PROJECTS = 20


async def show_plan(engine: Engine, *, sample: int | None, json: bool) -> int:
    """Plan, tell it on stdout, and return the exit status.

    Raises:
        EngineError: the transfer could not even begin; as JSON, its problems were told then.
    """
    waiting = Console(stderr=True)
    try:
        with waiting.status("looking at both sides …") as status:
            plan = await engine.plan(
                sample=sample, progress=lambda runs: status.update(f"looking at both sides … {runs:,} runs")
            )
    except EngineError as error:
        if json:
            problems = error.problems if isinstance(error, PreflightError) else (Problem.of(error),)
            _print_json({"type": "preflight", "problems": problems})
        raise
    if json:
        _print_json(plan.as_json())
    else:
        _show(Console(soft_wrap=True, highlight=False), plan)
    return 1 if plan.failures else 0


def _print_json(document: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.flush()


def _show(console: Console, plan: Plan) -> None:
    console.print(f"source       {described(plan.source)}")
    console.print(f"destination  {described(plan.destination)}")
    for note in (*plan.source.notes, *plan.destination.notes):
        console.print(f"[yellow]note[/] {plain(note)}")
    for warning in plan.warnings:
        console.print(f"[yellow]warning[/] {plain(str(warning))}")
    console.print()
    _show_projects(console, plan)
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _lines(plan):
        table.add_row(name, value)
    console.print(table)
    for loss in plan.losses:
        console.print(
            f"[yellow]will change on the way[/] {loss.kind} × {_number(loss.count)}, for example "
            f"{plain(loss.example.subject)}: {plain(loss.example.detail)}"
        )
    if plan.failures:
        among = " (of those looked at)" if plan.sampled is not None else ""
        console.print(f"[red]cannot be read, and so would not arrive{among}:[/]")
    for failure in plan.failures:
        console.print(
            f"  {failure.count:,} × {plain(str(failure.problem))}, for example {plain(failure.example)}"
        )
    console.print()
    for sentence in plan.basis:
        console.print(f"[dim]{plain(sentence)}[/]")
    if plan.runs_found and plan.is_nothing:
        console.print("Everything arrived earlier and did not change since: there is nothing to do.")
    console.print(f"Nothing was written. Planning took {plan.planning_s:.1f} s.")


def _show_projects(console: Console, plan: Plan) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("from")
    table.add_column("to")
    table.add_column("runs", justify="right")
    table.add_column("to move", justify="right")
    shown = sorted(plan.projects, key=lambda project: -project.runs)
    for project in shown[:SHOWN_PROJECTS]:
        table.add_row(plain(project.source), _goal(project), f"{project.runs:,}", f"{project.to_move:,}")
    console.print(table)
    if len(shown) > SHOWN_PROJECTS:
        rest = shown[SHOWN_PROJECTS:]
        console.print(f"… and {len(rest):,} more with {sum(project.runs for project in rest):,} runs")
    console.print()


def _goal(project: PlannedProject) -> str:
    if project.destination is None:
        return "?"
    return plain(project.destination) + {True: " (exists)", False: " (new)", None: ""}[project.exists]


def _lines(plan: Plan) -> Iterator[tuple[str, str]]:
    details = [f"{plan.runs_arrived:,} arrived earlier"] if plan.runs_arrived else []
    details += [f"{plan.runs_live:,} still under way"] if plan.runs_live else []
    aside = f" ({', '.join(details)})" if details else ""
    yield "runs to move", f"{plan.runs_to_move:,} of {plan.runs_found:,}{aside}"
    yield from _wholes(plan)
    if not plan.runs_to_move:
        return
    if plan.sampled is not None:
        yield "of these looked at", f"{plan.sampled:,}"
    yield "metric points", _number(plan.points)
    yield "history rows", _number(plan.rows)
    if plan.files.about:
        yield "run files", _number(plan.files)
    yield "artifacts", _number(plan.artifacts)
    yield "files in artifacts", _number(plan.artifact_files)
    if plan.references.about:
        yield "references", _number(plan.references)
    largest = f", the largest file {scaled(plan.largest_bytes)}B" if plan.largest_bytes else ""
    yield "bytes", f"{_size(plan.bytes)}{largest}"
    if plan.spool_bytes:
        yield "temporary data", f"up to {scaled(plan.spool_bytes)}B"
    for name, amount in sorted(plan.requests.items()):
        yield f"requests, {name}", _number(amount)
    duration = plan.duration
    yield "time", f"between {_time(duration.low_s)} and {_time(duration.high_s)}"
    for number, assumption in enumerate(duration.assumptions):
        yield "" if number else "  assuming", plain(assumption)


def _wholes(plan: Plan) -> Iterator[tuple[str, str]]:
    """What belongs to no single run."""
    if plan.collections.about:
        yield (
            "artifact collections",
            f"{_number(plan.collections)} with {_number(plan.versions)} new versions",
        )
    if plan.portfolios.about:
        yield "portfolios", _number(plan.portfolios)
    if plan.sweeps.about:
        yield "sweeps", _number(plan.sweeps)
    if plan.reports.about:
        yield "reports", _number(plan.reports)


def _number(amount: Amount) -> str:
    margin = f" ± {amount.margin:,}" if amount.margin else ""
    return f"{'' if amount.exact else 'about '}{amount.about:,}{margin}"


def _size(amount: Amount) -> str:
    margin = f" ± {scaled(amount.margin)}B" if amount.margin else ""
    return f"{'' if amount.exact else 'about '}{scaled(amount.about)}B{margin}"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"
