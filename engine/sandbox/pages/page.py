"""The pages of a sandbox, to look at what arrived: projects, runs, one run."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from aiohttp import web

from engine.sandbox.context import CALL, Call
from engine.sandbox.json_text import loads
from engine.sandbox.pages import markup
from engine.sandbox.pages.artifacts import artifact_page, collections_table, run_artifacts_table
from engine.sandbox.pages.charts import curves, figure
from engine.sandbox.projects import projects
from engine.sandbox.projects.projects import Project
from engine.sandbox.refusals import not_found
from engine.sandbox.runs import history, runs
from engine.sandbox.runs.files import RunFile, all_of
from engine.sandbox.runs.runs import Run

MAX_CHARTS = 40
_MAX_RUNS = 1000


class _Contents(NamedTuple):
    """How much there is."""

    runs: int
    rows: int
    artifacts: int
    bytes: int


async def front(request: web.Request) -> web.Response:
    """All projects that the reader may see, by entity."""
    call = request[CALL]
    listed = [(project, await _contents(call, project)) for project in projects.visible(call)]
    if not listed:
        return markup.page("Projects", "<p>No project yet. It appears with the first run written to it.</p>")
    total = _Contents(*map(sum, zip(*(contents for _, contents in listed), strict=True)))
    parts = [_totals(total)]
    for entity, found in groupby(listed, key=lambda item: item[0].entity_name):
        rows = [
            [
                markup.link(project.name, entity, project.name),
                *map(markup.number, (contents.runs, contents.rows, contents.artifacts)),
                markup.size(contents.bytes),
                markup.when(project.updated_ms),
            ]
            for project, contents in found
        ]
        titles = ["Project", "#Runs", "#Rows", "#Artifacts", "#Size", "Changed"]
        parts.append(markup.section(html.escape(entity), markup.table(titles, rows)))
    return markup.page("Projects", "".join(parts))


async def _contents(call: Call, project: Project) -> _Contents:
    rows = call.db.value(
        "SELECT sum((SELECT max(line) + 1 FROM history WHERE run = runs.number)) FROM runs "
        "WHERE project = ? AND deleted IS NULL",
        (project.number,),
    )
    in_project = """FROM artifacts JOIN artifact_collections ON artifact_collections.number = sequence
        WHERE project = ? AND artifacts.state = 'COMMITTED'"""
    artifacts = call.db.all(f"SELECT artifacts.number {in_project}", (project.number,))
    owners = call.db.all("SELECT number FROM runs WHERE project = ? AND deleted IS NULL", (project.number,))
    prefixes = [f"runs/{row['number']}/" for row in owners]
    prefixes += [f"artifacts/{row['number']}/" for row in artifacts]
    stored = await asyncio.to_thread(call.objects.stored_bytes, prefixes)
    return _Contents(runs.count(call, project), rows or 0, len(artifacts), stored)


def _totals(total: _Contents) -> str:
    parts = (
        (f"{total.runs:,}", "runs"),
        (f"{total.rows:,}", "rows"),
        (f"{total.artifacts:,}", "artifacts"),
        (markup.human_size(total.bytes), "stored"),
    )
    cells = "".join(f"<div><b>{count}</b>{name}</div>" for count, name in parts)
    return f'<div class="totals">{cells}</div>'


async def project_page(request: web.Request) -> web.Response:
    """The runs and artifacts of one project, the newest first."""
    call, project = _project(request)
    listed = runs.in_project(call, project)[::-1]
    rows = [
        [
            markup.link(run.display_name or run.name, project.entity_name, project.name, "runs", run.name),
            markup.label(run.state, run.state),
            markup.number(history.line_count(call.db, run.number)),
            html.escape(run.group or ""),
            markup.labels(run.tags),
            markup.when(run.created_ms),
        ]
        for run in (entry.run for entry in listed[:_MAX_RUNS])
    ]
    note = f"<p>The newest {_MAX_RUNS} of {len(listed)} runs.</p>" if len(listed) > _MAX_RUNS else ""
    table = markup.table(["Run", "State", "#Rows", "Group", "Tags", "Created"], rows)
    body = (
        (f"<p>{html.escape(project.description)}</p>" if project.description else "")
        + markup.section("Runs", note + table)
        + markup.section("Artifacts", collections_table(call, project))
    )
    return markup.page(project.name, body, [(project.entity_name, None)])


async def run_page(request: web.Request) -> web.Response:
    """One run: curves, config, summary, artifacts, files."""
    call, project = _project(request)
    run = runs.find(call, project, request.match_info["run"])
    if run is None:
        raise not_found("no such run")
    stored = loads(runs.column(call, run, "config") or "{}")
    config = {key: _plain(entry) for key, entry in stored.items() if key != "_wandb"}
    summary = loads(runs.column(call, run, "summary") or "{}")
    summary.pop("_wandb", None)
    body = (
        markup.facts(_facts(call, run))
        + markup.section("Metrics", await _charts(call, run, _plain(stored.get("_wandb"))))
        + markup.section("Config", markup.values(config))
        + markup.section("Summary", markup.values(summary))
        + markup.section("Artifacts", run_artifacts_table(call, run))
        + markup.section("Files", _files(all_of(call, run)))
    )
    trail = [(project.entity_name, None), (project.name, markup.path(project.entity_name, project.name))]
    return markup.page(run.display_name or run.name, body, trail)


def _plain(entry: Any) -> Any:
    """What a key of a config holds, without the wrapping of the wire."""
    return entry.get("value") if isinstance(entry, dict) else entry


def _facts(call: Call, run: Run) -> Sequence[tuple[str, str]]:
    texts = (("Group", run.group), ("Job type", run.job_type), ("Sweep", run.sweep_name))
    return [
        ("State", markup.label(run.state, run.state)),
        ("Id", markup.code(run.name)),
        ("Created", markup.moment(run.created_ms)),
        ("Rows", f"{history.line_count(call.db, run.number):,}"),
        *((title, html.escape(text)) for title, text in texts if text),
        *([("Tags", markup.labels(run.tags))] if run.tags else []),
        *([("Notes", f'<div class="notes">{html.escape(run.notes)}</div>')] if run.notes else []),
    ]


async def _charts(call: Call, run: Run, telemetry: Any) -> str:
    definitions = telemetry.get("m") if isinstance(telemetry, dict) else None
    usable = [each for each in definitions or () if isinstance(each, Mapping)]
    numeric = [
        key
        for key, entry in history.keys_of(call.db, run.number).items()
        if not key.startswith("_") and any(kind["type"] == "number" for kind in entry["typeCounts"])
    ]
    found = await curves(call.db, run.number, numeric[:MAX_CHARTS], usable)
    figures = "".join(figure(curve) for curve in found)
    more = len(numeric) - MAX_CHARTS
    note = f"<p>and {more} more metrics</p>" if more > 0 else ""
    return f'<div class="charts">{figures}</div>{note}' if figures else ""


def _files(files: Sequence[RunFile]) -> str:
    rows = [
        [markup.away(file.name, file.direct_url), markup.size(file.size_bytes), markup.code(file.md5 or "")]
        for file in files
    ]
    return markup.table(["Name", "#Size", "MD5"], rows)


def _project(request: web.Request) -> tuple[Call, Project]:
    call = request[CALL]
    project = projects.find(call, request.match_info["entity"], request.match_info["project"])
    if project is None:
        raise not_found("no such project")
    return call, project


PAGES = [
    web.get("/", front),
    web.get("/{entity}/{project}", project_page),
    web.get("/{entity}/{project}/runs/{run}", run_page),
    web.get("/{entity}/{project}/artifacts/{type}/{collection}/{version}", artifact_page),
]
