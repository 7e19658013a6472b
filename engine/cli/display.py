"""How a person, or a program, follows a transfer."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from engine.cli.markup import plain
from engine.dashboard.readable import counted
from engine.records import SystemInfo
from engine.transfer.events import Connected, Event, ItemFailed, LossRecorded, Progress
from engine.transfer.ledger.causes import normalised
from engine.transfer.options import Result

LINE_EVERY_S = 5.0
SHOWN_FAILURES = 20


class Display(Protocol):
    """Shows events as they come."""

    def live(self) -> AbstractContextManager[object]:
        """Entered while events flow."""
        ...

    def show(self, event: Event) -> None: ...


def display_for(console: Console, *, json: bool) -> Display:
    """JSON lines on stdout, a live bar on a terminal, plain lines otherwise."""
    if json:
        return JsonLines(sys.stdout.buffer.write)
    return LiveBar(console) if console.is_terminal else PlainLines(console)


class JsonLines:
    """One JSON object per event."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def live(self) -> AbstractContextManager[object]:
        return nullcontext()

    def show(self, event: Event) -> None:
        self._write(orjson.dumps(event.as_json(), option=orjson.OPT_APPEND_NEWLINE, default=str))
        sys.stdout.flush()


class PlainLines:
    """A line every few seconds, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0

    def live(self) -> AbstractContextManager[object]:
        return nullcontext()

    def show(self, event: Event) -> None:
        if isinstance(event, Progress):
            if event.elapsed_s >= self._next:
                self._next = event.elapsed_s + LINE_EVERY_S
                self._console.print(_progress_line(event), highlight=False)
        else:
            _announce(self._console, event)


class LiveBar:
    """A bar that moves, with rates and the time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("[bold]runs"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[moved]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[eta]}"),
            console=console,
        )
        self._task = self._bar.add_task("runs", total=None, moved="", eta="")

    def live(self) -> AbstractContextManager[object]:
        return self._bar

    def show(self, event: Event) -> None:
        if not isinstance(event, Progress):
            _announce(self._console, event)
            return
        done = event.runs_done + event.runs_failed + event.runs_skipped
        self._bar.update(
            self._task,
            completed=done,
            total=event.runs_found or None,
            moved=f"{_besides(event)}{_moved(event)}",
            eta=f"[yellow]{_waiting(event)}[/]" if event.waiting else f"[dim]{_eta(event, done)}",
        )


def _announce(console: Console, event: Event) -> None:
    match event:
        case Connected():
            console.print(f"source       {described(event.source)}", highlight=False)
            console.print(f"destination  {described(event.destination)}", highlight=False)
            for note in (*event.source.notes, *event.destination.notes):
                console.print(f"[yellow]note[/] {plain(note)}", highlight=False)
            for warning in event.warnings:
                console.print(f"[yellow]warning[/] {plain(str(warning))}", highlight=False)
        case ItemFailed(item="transfer"):
            pass  # told at the end, as what stopped it
        case ItemFailed():
            console.print(f"[red]failed[/] {plain(event.subject)}: {plain(event.message)}", highlight=False)
        case LossRecorded():
            console.print(
                f"[yellow]changed[/] {event.loss.kind}: {plain(event.loss.subject)}: "
                f"{plain(event.loss.detail)}",
                highlight=False,
            )
        case _:
            pass


def described(info: SystemInfo) -> str:
    version = f" {info.version}" if info.version else ""
    identity = f", as {info.identity}" if info.identity else ""
    return plain(f"{info.uri} ({info.product}{version}{identity})")


def _progress_line(event: Progress) -> str:
    done = event.runs_done + event.runs_failed + event.runs_skipped
    more = "+" if event.enumerating else ""
    left = f", {_waiting(event) or _eta(event, done)}".removesuffix(", ")
    runs = f"runs {done}/{event.runs_found}{more}"
    return f"{event.elapsed_s:5.0f} s  {runs}, {_besides(event)}{_moved(event)}{left}"


def _besides(event: Progress) -> str:
    """Runs that did not arrive, or did not have to."""
    failed = f"{event.runs_failed} failed, " if event.runs_failed else ""
    return failed + (f"{event.runs_skipped} unchanged, " if event.runs_skipped else "")


def _moved(event: Progress) -> str:
    elapsed = max(event.elapsed_s, 1e-9)
    return (
        f"{scaled(event.points)} points ({scaled(event.points / elapsed)}/s), {scaled(event.files)} files, "
        f"{scaled(event.bytes)}B ({scaled(event.bytes / elapsed)}B/s)"
    )


def _waiting(event: Progress) -> str:
    return f"waiting: {'; '.join(event.waiting)}" if event.waiting else ""


def _eta(event: Progress, done: int) -> str:
    left = event.runs_found - done
    if event.enumerating or not done or left <= 0:
        return ""
    return f"about {left * event.elapsed_s / done:.0f} s left"


def scaled(number: float) -> str:
    """A number in a few characters: ``950``, ``12.3k``, ``4.56M``."""
    for unit in ("", "k", "M", "G"):
        if abs(number) < 1000:
            return f"{number:.3g}{unit}" if unit else f"{number:.0f}"
        number /= 1000
    return f"{number:.3g}T"


def _old_ledger(console: Console, result: Result) -> None:
    if result.old_runs_missing:
        console.print(
            f"[yellow]note[/] {result.old_runs_missing} runs of the old ledger are not at the destination; "
            "they were transferred"
        )
    if result.old_lines_unreadable:
        console.print(f"[yellow]note[/] {result.old_lines_unreadable} lines of the old ledger say nothing")


def _failures(console: Console, result: Result) -> None:
    """Each cause once, with what it kept from arriving."""
    causes: dict[str, list[ItemFailed]] = defaultdict(list)
    for failure in result.failures:
        causes[normalised(failure.message)].append(failure)
    shown = 0
    for first, *others in sorted(causes.values(), key=len, reverse=True):
        if shown == SHOWN_FAILURES:
            break
        console.print(f"  {plain(first.subject)}: {plain(first.message)}", highlight=False)
        shown += 1
        for failure in others[: SHOWN_FAILURES - shown]:
            console.print(f"    likewise {plain(failure.subject)}", highlight=False)
            shown += 1
    if result.failure_count > shown:
        console.print(f"  … and {result.failure_count - shown:,} more; engine status counts them by cause")


def summarise(console: Console, result: Result, error: str | None = None) -> None:
    """What a transfer did, what did not arrive and why, and what to do about it."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in (
        ("runs arrived", f"{result.runs_done} of {result.runs_found}"),
        *((("runs unchanged", f"{result.runs_skipped}"),) if result.runs_skipped else ()),
        *((("of an old ledger", f"{result.runs_inherited}"),) if result.runs_inherited else ()),
        *((("runs of other engines", f"{result.runs_elsewhere}"),) if result.runs_elsewhere else ()),
        *((("artifact versions", f"{result.versions:,}"),) if result.versions else ()),
        *((("reports, views, sweeps", f"{result.reports:,}"),) if result.reports else ()),
        ("metric points", f"{result.counters.points:,}"),
        ("files", f"{result.counters.files:,}"),
        ("bytes", f"{result.counters.bytes:,}"),
        ("requests", f"{result.counters.requests:,}"),
        ("time", f"{result.elapsed_s:.1f} s"),
    ):
        table.add_row(name, value)
    console.print(table)
    for kind, count in sorted(result.losses.items()):
        example = result.loss_examples[kind][0]
        console.print(
            f"[yellow]changed on the way[/] {kind} × {count}, for example {plain(example.subject)}: "
            f"{plain(example.detail)}",
            highlight=False,
        )
    if result.runs_live:
        console.print(
            f"{counted(result.runs_live, 'run')} still going on at the source: what there was has arrived; "
            "the same command brings the rest."
        )
    if result.runs_skipped and result.runs_skipped == result.runs_found:
        # Runs may be as they were while versions of their artifacts are new.
        if result.counters.changes or result.counters.files:
            console.print("No run changed since the last time; artifacts, links, sweeps or reports did.")
        else:
            console.print("Nothing changed since the last time, so nothing was written.")
    _old_ledger(console, result)
    if result.failure_count:
        console.print(f"[red]{counted(result.failure_count, 'item')} did not arrive:[/]")
        _failures(console, result)
    if result.interrupted:
        more = " and those that were not listed yet" if result.unlisted else ""
        console.print(f"[yellow]interrupted:[/] {result.runs_left} runs{more} are left")
    if error is not None:
        console.print(f"[red]stopped:[/] {plain(error)}", highlight=False)
    if result.failure_count or result.interrupted or error is not None:
        console.print("What arrived stays. Run the same command again to bring the rest.")
