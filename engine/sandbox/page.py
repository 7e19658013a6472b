"""The pages of a sandbox: projects, runs, one run. Plain HTML without scripts or foreign assets."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from urllib.parse import quote

from aiohttp import web

from engine.sandbox import history, projects, runs
from engine.sandbox.charts import Point, line_chart
from engine.sandbox.context import CALL, Call
from engine.sandbox.history import Steps
from engine.sandbox.json_text import loads
from engine.sandbox.projects import Project
from engine.sandbox.refusals import not_found
from engine.sandbox.run_files import RunFile, all_of
from engine.sandbox.runs import Run

MAX_CHARTS = 40
_CHART_SAMPLES = 300
_MAX_RUNS = 1000

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --ink: #2a78d6; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } a { color: var(--ink); }
nav { color: #888; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 600; } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.state { padding: .05rem .5rem; border-radius: 1rem; background: var(--soft); }
.finished { background: #2a9d4a40; } .running { background: #2a78d640; }
.failed, .crashed, .killed { background: #d6402a40; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: .5rem; padding: .6rem; }
figcaption { font-weight: 600; overflow-wrap: anywhere; } svg { width: 100%; height: auto; display: block; }
svg path { fill: none; stroke: var(--ink); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
svg text { font: 10px system-ui, sans-serif; fill: #888; }
code { font-size: .9em; }
"""


async def front(request: web.Request) -> web.Response:
    """All projects that the reader may see, by entity."""
    call = request[CALL]
    parts = []
    for entity, found in groupby(projects.visible(call), key=lambda project: project.entity_name):
        rows = [
            [
                _link(project.name, entity, project.name),
                _number(runs.count(call, project)),
                _when(project.updated_ms),
            ]
            for project in found
        ]
        parts.append(f"<h2>{html.escape(entity)}</h2>" + _table(["Project", "#Runs", "Changed"], rows))
    body = "".join(parts) or "<p>No project yet. It appears with the first run that is written to it.</p>"
    return _page("Projects", body, [])


async def project_page(request: web.Request) -> web.Response:
    """The runs of one project, the newest first."""
    call, project = _project(request)
    listed = runs.in_project(call, project)[::-1]
    rows = [
        [
            _link(run.display_name or run.name, project.entity_name, project.name, "runs", run.name),
            _state(run),
            _number(history.line_count(call.db, run.number)),
            html.escape(run.group or ""),
            html.escape(", ".join(run.tags)),
            _when(run.created_ms),
        ]
        for run in (entry.run for entry in listed[:_MAX_RUNS])
    ]
    note = f"<p>The newest {_MAX_RUNS} of {len(listed)} runs.</p>" if len(listed) > _MAX_RUNS else ""
    table = _table(["Run", "State", "#Rows", "Group", "Tags", "Created"], rows)
    return _page(project.name, note + table, [(project.entity_name, None), (project.name, None)])


async def run_page(request: web.Request) -> web.Response:
    """One run: curves, config, summary, files."""
    call, project = _project(request)
    run = runs.find(call, project, request.match_info["run"])
    if run is None:
        raise not_found("no such run")
    facts = [
        ["State", _state(run)],
        ["Id", f"<code>{html.escape(run.name)}</code>"],
        ["Created", _when(run.created_ms)],
        ["Rows", f"{history.line_count(call.db, run.number):,}"],
        *([title, html.escape(text)] for title, text in _texts(run) if text),
    ]
    config = {
        key: entry.get("value") if isinstance(entry, dict) else entry
        for key, entry in loads(runs.column(call, run, "config") or "{}").items()
        if key != "_wandb"
    }
    summary = loads(runs.column(call, run, "summary") or "{}")
    body = (
        _table([], facts)
        + _charts(call, run)
        + _section("Config", _mapping(config))
        + _section("Summary", _mapping(summary))
        + _section("Files", _files(all_of(call, run)))
    )
    return _page(
        run.display_name or run.name,
        body,
        [(project.entity_name, None), (project.name, _path(project.entity_name, project.name))],
    )


def _texts(run: Run) -> Iterable[tuple[str, str | None]]:
    return (
        ("Group", run.group),
        ("Job type", run.job_type),
        ("Tags", ", ".join(run.tags)),
        ("Notes", run.notes),
        ("Sweep", run.sweep_name),
    )


def _charts(call: Call, run: Run) -> str:
    numeric = [
        key
        for key, entry in history.keys_of(call.db, run.number).items()
        if not key.startswith("_") and any(kind["type"] == "number" for kind in entry["typeCounts"])
    ]
    figures = []
    for key in numeric[:MAX_CHARTS]:
        values = history.sampled_values(call.db, run.number, Steps(), ["_step", key], _CHART_SAMPLES)
        points = [Point(row["_step"], row[key]) for row in values if isinstance(row[key], (int, float))]
        if points:
            caption = f"<figcaption>{html.escape(key)}</figcaption>"
            figures.append(f"<figure>{caption}{line_chart(points)}</figure>")
    more = len(numeric) - MAX_CHARTS
    note = f"<p>and {more} more metrics</p>" if more > 0 else ""
    return _section("Metrics", f'<div class="charts">{"".join(figures)}</div>{note}' if figures else "")


def _files(files: Sequence[RunFile]) -> str:
    rows = [
        [
            f'<a href="{html.escape(file.direct_url)}">{html.escape(file.name)}</a>',
            _number(file.size_bytes),
            f"<code>{html.escape(file.md5 or '')}</code>",
        ]
        for file in files
    ]
    return _table(["Name", "#Bytes", "MD5"], rows) if rows else ""


def _mapping(values: dict[str, object]) -> str:
    rows = [
        [html.escape(key), f"<code>{html.escape(json.dumps(value, ensure_ascii=False)[:2000])}</code>"]
        for key, value in sorted(values.items())
    ]
    return _table([], rows) if rows else ""


def _section(title: str, content: str) -> str:
    return f"<h2>{title}</h2>{content or '<p>None.</p>'}"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already; a title that begins with ``#`` heads a column of numbers."""
    head = "".join(
        f'<th class="number">{title[1:]}</th>' if title.startswith("#") else f"<th>{title}</th>"
        for title in titles
    )
    body = "".join(
        "<tr>" + "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def _number(value: int) -> str:
    return f'<td class="number">{value:,}</td>'


def _state(run: Run) -> str:
    return f'<span class="state {html.escape(run.state)}">{html.escape(run.state)}</span>'


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _path(*parts: str) -> str:
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _link(text: str, *parts: str) -> str:
    return f'<a href="{_path(*parts)}">{html.escape(text)}</a>'


def _project(request: web.Request) -> tuple[Call, Project]:
    call = request[CALL]
    project = projects.find(call, request.match_info["entity"], request.match_info["project"])
    if project is None:
        raise not_found("no such project")
    return call, project


def _page(title: str, body: str, trail: Sequence[tuple[str, str | None]]) -> web.Response:
    crumbs = " / ".join(
        ['<a href="/">sandbox</a>']
        + [f'<a href="{href}">{html.escape(text)}</a>' if href else html.escape(text) for text, href in trail]
    )
    return web.Response(
        text=f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>
<style>{_STYLE}</style></head><body><nav>{crumbs}</nav><h1>{html.escape(title)}</h1>{body}</body></html>""",
        content_type="text/html",
        headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
    )


PAGES = [
    web.get("/", front),
    web.get("/{entity}/{project}", project_page),
    web.get("/{entity}/{project}/runs/{run}", run_page),
]
