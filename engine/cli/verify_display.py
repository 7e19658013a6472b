"""How a person, or a program, follows a verification."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from engine.cli.display import LINE_EVERY_S, scaled
from engine.cli.markup import plain
from engine.dashboard.readable import counted
from engine.transfer.events import Event
from engine.verify.findings import Findings, Verifying

SHOWN = 20
"""Differences that are listed; the certificate has more."""


@contextmanager
def following(console: Console, *, json: bool) -> Iterator[Callable[[Event], None]]:
    """What to call with each event: JSON lines on stdout, a moving line on a terminal, lines otherwise."""
    if json:
        yield _print_json
    elif console.is_terminal:
        with console.status("verifying") as status:
            yield lambda event: status.update(_line(event)) if isinstance(event, Verifying) else None
    else:
        yield _PlainLines(console).show


def _print_json(event: Event) -> None:
    sys.stdout.buffer.write(orjson.dumps(event.as_json(), option=orjson.OPT_APPEND_NEWLINE, default=str))
    sys.stdout.flush()


class _PlainLines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = LINE_EVERY_S

    def show(self, event: Event) -> None:
        if isinstance(event, Verifying) and event.elapsed_s >= self._next:
            self._next = event.elapsed_s + LINE_EVERY_S
            self._console.print(f"{event.elapsed_s:5.0f} s  {_line(event)}", highlight=False)


def _line(event: Verifying) -> str:
    differences = f", {event.differences:,} differences" if event.differences else ""
    return (
        f"verifying: runs {event.runs_done}/{event.runs_found}, {scaled(event.points)} points, "
        f"{scaled(event.entries)} files{differences}"
    )


def show_findings(
    console: Console,
    findings: Findings,
    certificate: Path | None,
    *,
    declared: bool = True,
    told: Collection[str] = (),
) -> None:
    """What was compared, what differs, what could not be compared, and what was ``declared``.

    Args:
        told: reasons that the summary of a transfer has just told.
    """
    counts = findings.counts
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in (
        ("runs verified", f"{counts.runs:,} of {findings.runs_found:,}"),
        ("facts", f"{counts.facts:,}"),
        ("metric points", f"{counts.points:,}"),
        ("lines of logs", f"{counts.lines:,}"),
        ("sweeps", f"{counts.sweeps:,}"),
        ("reports", f"{counts.reports:,}"),
        ("artifacts", f"{counts.artifacts:,}"),
        ("files", f"{counts.files + counts.entries:,}"),
        ("bytes hashed", f"{counts.bytes_hashed:,}"),
        ("requests", f"{findings.requests:,}"),
        ("time", f"{findings.ended_at - findings.began_at:.1f} s"),
    ):
        if value != "0":
            table.add_row(name, value)
    console.print(table)
    for kind, count in sorted(findings.declared.counts.items()) if declared else ():
        example = findings.declared.examples[kind][0]
        console.print(
            f"[yellow]declared[/] {kind} × {count:,}, for example {plain(example.subject)}: "
            f"{plain(example.detail)}",
            highlight=False,
        )
    untold = [item for item in findings.not_verified if item.reason not in told]
    if among := len(findings.not_verified) - len(untold):
        console.print(f"[yellow]not verified[/] what did not arrive: {counted(among, 'item')}, as told above")
    for item in untold[:SHOWN]:
        console.print(f"[yellow]not verified[/] {plain(item.subject)}: {plain(item.reason)}", highlight=False)
    _more(console, findings.not_verified_count - among)
    for difference in findings.differences[:SHOWN]:
        console.print(f"[red]differs[/] {plain(str(difference))}", highlight=False)
    _more(console, findings.difference_count)
    console.print(_verdict(findings), highlight=False)
    if certificate is not None:
        console.print(f"certificate: {plain(str(certificate))}", highlight=False)


def _more(console: Console, count: int) -> None:
    if count > SHOWN:
        console.print(f"  … and {count - SHOWN:,} more")


def _verdict(findings: Findings) -> str:
    if findings.difference_count:
        return f"[red]{counted(findings.difference_count, 'difference')}[/] ({findings.level})"
    left_out = f", {findings.not_verified_count:,} not verified" if findings.not_verified_count else ""
    if findings.is_empty:
        return "[yellow]nothing was verified[/], as the source has no runs; so there is no certificate"
    if not findings.counts.runs:
        return f"[yellow]no run was verified[/]{left_out}"
    runs = counted(findings.counts.runs, "run")
    return f"[green]verified[/] ({findings.level}): no differences in {runs}{left_out}"
