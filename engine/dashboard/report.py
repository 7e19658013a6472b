"""The report of a state directory as HTML, Markdown or JSON: three forms of one model.

The page loads nothing: style and drawings are in it, and its content security policy forbids the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from engine.dashboard import readable
from engine.dashboard.charts import Band, Chart, Layer, Plotter
from engine.dashboard.model import Report
from engine.dashboard.timeline import Timeline, Window
from engine.errors import ConfigError
from engine.transfer.ledger.items import Kind, State

CHARTED = 4
"""Throttles that are drawn; all are in the table."""

WINDOWS = 40
PROJECTS = 200
"""Lines of a table; what is beyond is in the JSON form."""


class Format(StrEnum):
    """Forms of the report."""

    HTML = "html"
    MD = "md"
    JSON = "json"


def format_of(path: Path) -> Format:
    """By the name of a file.

    Raises:
        ConfigError: it has none of the known endings, or its directory does not exist.
    """
    try:
        found = Format(path.suffix.lower().removeprefix("."))
    except ValueError:
        raise ConfigError(
            f"{path}: a report is written as .html, .md or .json", remedy="choose one of these endings"
        ) from None
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent} is no directory", remedy="make it, or name another file")
    return found


def rendered(report: Report, form: Format) -> str:
    """The report as text."""
    if form is Format.JSON:
        return _json(report)
    template = _ENVIRONMENT.get_template(f"report.{form}.j2")
    return template.render(
        report=report, Kind=Kind, State=State, charts=charts_of, PROJECTS=PROJECTS, WINDOWS=WINDOWS
    )


def write_report(report: Report, path: Path, form: Format) -> None:
    """Write it, or say why not.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        path.write_text(rendered(report, form), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"the report {path} cannot be written: {error.strerror}", remedy="name another file", exc=error
        ) from error


def charts_of(timeline: Timeline) -> dict[str, list[Chart]]:
    """``moved``: what arrived each second; ``windows``: the throttles, each as a group of charts in a row."""
    bands = tuple(
        Band.of(pause.begin_s, pause.end_s, f"waiting: {pause.reason}", timeline.duration_s)
        for pause in timeline.pauses
    )
    plotter = Plotter(timeline.duration_s, bands)
    moved = [
        plotter.chart(
            title,
            [Layer(name=title, kind="area", values=values)],
            f"{label(_mean(values))} on average, {label(max(values))} at most",
            label,
        )
        for title, values, label in (
            ("Metric points per second", timeline.points, readable.scaled),
            ("Bytes per second", timeline.bytes, readable.size),
            ("Requests per second", timeline.requests, readable.scaled),
        )
        if any(values)
    ]
    drawn = [window for window in timeline.windows if window.refused][:CHARTED] or list(timeline.windows[:1])
    return {"moved": moved, "windows": [chart for window in drawn for chart in _window(plotter, window)]}


def _window(plotter: Plotter, window: Window) -> list[Chart]:
    name = f"{window.endpoint} at {readable.shown(window.host)}"
    limit = "no limit found" if window.limit is None else f"limit found at {readable.scaled(window.limit)}/s"
    # While the first rejects are looked into, a throttle may know a limit far beyond what is sent.
    highest = 2 * max(window.accepted, default=0.0)
    allowed = [None if rate is None else min(rate, highest) for rate in window.allowed]
    rate = plotter.chart(
        name,
        [
            Layer(name="accepted per second", kind="area", values=window.accepted),
            Layer(name="allowed per second", kind="line", values=allowed, style="limit"),
        ],
        f"{readable.counted(window.sent, 'request')}, {limit}",
        readable.scaled,
    )
    refused = plotter.strip(
        "refused",
        Layer(name="refused per second", kind="bars", values=window.rejected, style="refused"),
        f"{readable.number(window.refused)} refused, {readable.share(window.refused, window.sent)}",
    )
    in_flight = plotter.chart(
        "in flight",
        [
            Layer(name="in flight", kind="area", values=window.in_flight, style="quiet"),
            Layer(name="allowed in flight", kind="line", values=window.slots, style="limit"),
        ],
        "requests under way, and how many may be",
        readable.number,
        height=56,
    )
    return [rate, refused, in_flight] if window.refused else [rate, in_flight]


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)


def _json(report: Report) -> str:
    told = asdict(report)
    for migration, model in zip(told["migrations"], report.migrations, strict=True):
        migration["verdict"] = asdict(model.verdict)
        migration.pop("charted")
        for session in migration["sessions"]:
            # The timeline has what can be seen in them.
            session["last"] = (session.pop("samples") or [None])[-1]
    option = orjson.OPT_NON_STR_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return readable.without_secrets(orjson.dumps(told, option=option, default=str).decode())


_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~!&$])")


def _cell(text: str, limit: int = readable.NAME) -> str:
    """Text that Markdown leaves as it is."""
    return _MARKDOWN.sub(r"\\\1", readable.shown(text, limit))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("engine.dashboard"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., object]] = {
        function.__name__: function
        for function in (
            readable.shown,
            readable.number,
            readable.figure,
            readable.scaled,
            readable.size,
            readable.duration,
            readable.moment,
            readable.share,
            readable.counted,
            readable.without_secrets,
        )
    }
    environment.filters.update(filters, cell=_cell)
    return environment


_ENVIRONMENT = _environment()
