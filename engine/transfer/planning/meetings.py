"""What would meet because several projects go to one place, found before anything is moved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from engine.errors import ConfigError, EngineError, Side
from engine.protocols import CollectionSource, LinkSource, Source, Survey
from engine.records import Namespace, Project, Run, Selection

SHOWN = 20
"""Names in one error."""


async def find_meetings(
    source: Source,
    projects: Sequence[Project],
    selection: Selection,
    survey: Survey,
    remap: Mapping[str, str],
    *,
    artifacts: bool,
) -> list[EngineError]:
    """Why some of these projects cannot go to the same place.

    Args:
        remap: as ``Context.remap``.
        artifacts: whether they are moved, too.
    """
    meeting: dict[Namespace, list[Project]] = defaultdict(list)
    for project in projects:
        if (place := survey.targets.get(project.namespace)) is not None:
            meeting[place].append(project)
    errors: list[EngineError] = []
    for place, several in meeting.items():
        if len(several) < 2:
            continue
        errors += _by_accident(place, several, remap)
        # Elsewhere ids are those of a whole server, and artifacts belong to runs.
        if isinstance(source, CollectionSource):
            errors += await _of_one_id(source, place, several, selection, survey)
            if artifacts:
                errors += await _of_one_name(source, place, several)
    return errors


def _by_accident(
    place: Namespace, projects: Sequence[Project], remap: Mapping[str, str]
) -> list[EngineError]:
    """One was sent to where another one goes by itself, because it keeps its name."""
    sent = {
        project.namespace
        for project in projects
        if project.namespace.path in remap or project.namespace.project in remap
    }
    kept = [
        project.namespace
        for project in projects
        if project.namespace not in sent and project.namespace.project == place.project
    ]
    if not sent or not kept:
        return []
    comers, stayers = (_listed(sorted(map(str, some))) for some in (sent, kept))
    return [
        ConfigError(
            f"{comers} would come to {place}, where {stayers} goes by itself",
            side=Side.SOURCE,
            remedy="send one of them elsewhere; if they are to meet there, say so with "
            f"--remap {kept[0].path}={place.path}, too",
        )
    ]


async def _of_one_id(
    source: Source, place: Namespace, projects: Sequence[Project], selection: Selection, survey: Survey
) -> list[EngineError]:
    """Runs of one id."""
    if survey.first_id is None:
        return []
    sources: dict[str, list[Namespace]] = defaultdict(list)
    for project in projects:
        async with aclosing(source.runs(project, replace(selection, limit=None))) as runs:
            async for run in runs:
                if isinstance(run, Run):
                    sources[survey.first_id(run, place)].append(project.namespace)
    if not (twice := _twice(sources)):
        return []
    return [
        ConfigError(
            f"runs of the same id would meet in {place}: {_listed(twice)}",
            side=Side.SOURCE,
            remedy="give the later ones other ids with --ids suffix, or leave the projects apart",
        )
    ]


async def _of_one_name(
    source: CollectionSource, place: Namespace, projects: Sequence[Project]
) -> list[EngineError]:
    """Collections of artifact versions, or of links, of one name, whose numbers and aliases would mix."""
    sources: dict[str, list[Namespace]] = defaultdict(list)
    for project in projects:
        async with aclosing(source.collections(project)) as collections:
            async for collection in collections:
                sources[collection.name].append(project.namespace)
        if isinstance(source, LinkSource):
            async with aclosing(source.portfolios(project)) as portfolios:
                async for portfolio in portfolios:
                    sources[portfolio.name].append(project.namespace)
    if not (twice := _twice(sources)):
        return []
    return [
        ConfigError(
            f"artifacts of the same name would meet in {place}: {_listed(twice)}",
            side=Side.SOURCE,
            remedy="leave the projects apart, or bring them one after the other, each with its own names "
            "in a --map",
        )
    ]


def _twice(sources: Mapping[str, Sequence[Namespace]]) -> list[str]:
    """Names that several have, with who has them."""
    return sorted(
        f"{name} ({', '.join(map(str, several))})" for name, several in sources.items() if len(several) > 1
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
