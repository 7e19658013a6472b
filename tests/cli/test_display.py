"""What a person, a log and a program see of a transfer."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from engine.cli.display import JsonLines, LiveBar, PlainLines, display_for, scaled, summarise
from engine.records import Loss, SystemInfo
from engine.transfer.events import Connected, Event, ItemFailed, LossRecorded, Progress
from engine.transfer.options import Result


def progress(**changes: Any) -> Progress:
    nothing = {"points": 0, "files": 0, "bytes": 0, "requests": 0, "runs_failed": 0, "enumerating": False}
    return Progress(**{**nothing, "runs_found": 10, **changes})


def events() -> list[Event]:
    return [
        Connected(
            source=SystemInfo(uri="mlflow:http://h", product="MLflow", version="3.1"),
            destination=SystemInfo(uri="wandb:e/p", product="W&B", identity="ada", notes=("no tags",)),
        ),
        progress(
            enumerating=True,
            runs_done=3,
            runs_failed=1,
            points=12_345,
            files=2,
            bytes=4_000_000,
            elapsed_s=2.0,
        ),
        ItemFailed(
            item="run", subject="run r1 [x]", kind="NotFound", side="source", message="gone (restore it)"
        ),
        LossRecorded(loss=Loss(kind="key_renamed", subject="run r2", detail="a became b")),
        progress(runs_done=5, points=1, elapsed_s=10.0),
    ]


def shown(terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=200)
    display = display_for(console, json=False)
    with display.live():
        for event in events():
            display.show(event)
    return out.getvalue()


def test_a_terminal_gets_a_bar_and_a_pipe_gets_lines():
    assert isinstance(display_for(Console(force_terminal=True), json=False), LiveBar)
    assert isinstance(display_for(Console(file=io.StringIO()), json=False), PlainLines)
    assert isinstance(display_for(Console(), json=True), JsonLines)


@pytest.mark.parametrize("terminal", [True, False])
def test_sides_failures_and_losses_are_told_as_they_happen(terminal: bool):
    text = shown(terminal)
    for words in ("MLflow 3.1", "as ada", "no tags", "run r1 [x]", "gone (restore it)", "a became b"):
        assert words in text


def test_lines_tell_counts_rates_and_what_is_left():
    text = shown(terminal=False)
    assert "runs 4/10+, 1 failed, 12.3k points (6.17k/s), 2 files, 4MB (2MB/s)" in text
    assert "runs 5/10, 1 points (0/s), 0 files, 0B (0B/s), about 10 s left" in text


def test_the_bar_tells_what_failed_and_what_was_left_out():
    out = io.StringIO()
    bar = LiveBar(Console(file=out, force_terminal=True, width=200))
    with bar.live():
        bar.show(progress(runs_done=3, runs_failed=1, runs_skipped=2, elapsed_s=2.0))
    assert "1 failed, 2 unchanged, 0 points" in out.getvalue()


def test_json_lines_hold_one_event_each():
    written: list[bytes] = []
    display = JsonLines(written.append)
    for event in events():
        display.show(event)
    parsed = [json.loads(line) for line in written]
    assert [event["type"] for event in parsed] == ["connected", "progress", "item_failed", "loss", "progress"]
    assert parsed[0]["destination"]["identity"] == "ada"


def test_the_summary_lists_failures_losses_and_the_next_step():
    out = io.StringIO()
    result = Result(runs_found=3, runs_done=2, runs_failed=1)
    for event in events():
        if isinstance(event, ItemFailed):
            result.add_failure(event)
    result.losses["key_renamed"] = 4
    result.loss_examples["key_renamed"] = [Loss(kind="key_renamed", subject="run r2", detail="a became b")]
    summarise(Console(file=out, width=200), result)
    text = out.getvalue()
    for words in (
        "2 of 3",
        "key_renamed × 4",
        "a became b",
        "1 item did not arrive",
        "gone",
        "same command",
    ):
        assert words in text


def test_the_summary_tells_one_cause_once():
    out, result = io.StringIO(), Result(runs_found=30, runs_failed=27)
    for number in range(26):
        message = f"no such file [s3://bucket/{number}/a.bin]"
        result.add_failure(
            ItemFailed(item="run", subject=f"run r{number}", kind="NotFound", side="source", message=message)
        )
    result.add_failure(ItemFailed(item="run", subject="run q", kind="X", side="source", message="other"))
    summarise(Console(file=out, width=200), result)
    text = out.getvalue()
    assert text.count("no such file") == 1
    assert text.count("likewise run r") == 19
    assert "and 7 more; engine status" in text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (950, "950"), (12_345, "12.3k"), (4_560_000, "4.56M"), (2e13, "20T")]
)
def test_numbers_are_scaled(number: float, text: str):
    assert scaled(number) == text


def test_what_was_left_out_is_told():
    out = io.StringIO()
    console = Console(file=out, width=200)
    PlainLines(console).show(progress(runs_done=1, runs_skipped=4, elapsed_s=6.0))
    summarise(console, Result(runs_found=5, runs_done=1, runs_skipped=4))
    assert "runs 5/10, 4 unchanged" in out.getvalue()
    assert "nothing was written" not in out.getvalue()

    with_files = Result(runs_found=5, runs_skipped=5)
    with_files.counters.files = 1
    summarise(console, with_files)
    assert "nothing was written" not in out.getvalue()

    summarise(console, Result(runs_found=5, runs_skipped=5))
    assert "Nothing changed since the last time, so nothing was written." in out.getvalue()

    told = io.StringIO()
    result = Result(runs_found=5, runs_skipped=5)
    result.counters.changes = 1
    summarise(Console(file=told, width=200), result)
    assert "nothing was written" not in told.getvalue()
    assert "No run changed" in told.getvalue()


def test_names_of_others_do_nothing_to_the_terminal():
    out, result = io.StringIO(), Result(runs_found=1)
    name = "\x1b[31mred\x1b[0m \x1b]0;title\x07\u202egnol\n[bold]two[/bold]"
    failure = ItemFailed(item="run", subject=f"run r ({name})", kind="X", side="source", message=f"no {name}")
    result.add_failure(failure)
    PlainLines(Console(file=out, width=200)).show(failure)
    summarise(Console(file=out, width=200), result)
    lines = [line for line in out.getvalue().splitlines() if "run r" in line]
    assert len(lines) == 2
    for line in lines:
        assert line.isprintable()
        assert line.count("[bold]two[/bold]") == 2
