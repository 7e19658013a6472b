"""What a mapping would make one, found before anything is moved and all of it at once.

That takes a second look at the lists of the source: at runs if config keys, metrics or tags get other names,
at collections if artifacts do, at their versions if aliases or tags do. What only a history tells, and
artifacts of sources without collections, show when they are moved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from engine.errors import ConfigError, EngineError, Side
from engine.protocols import CollectionSource, LinkSource, Source
from engine.records import Collection, Project, Run, Selection
from engine.remapping.rules import (
    ALIASES,
    ARTIFACTS,
    CONFIG,
    MERGEABLE,
    METRICS,
    NAMESPACES,
    TAGS,
    Remapping,
)

SHOWN = 5
"""Places of one collision that are named."""


@dataclass(slots=True)
class Collisions:
    """Names that would become one, and where."""

    remapping: Remapping
    _found: dict[tuple[str, tuple[str, ...], str], list[str]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def look(self, section: str, names: Iterable[str], subject: str) -> None:
        """See whether names that are next to each other stay different."""
        rules = self.remapping[section]
        if not rules:
            return
        old: dict[str, set[str]] = defaultdict(set)
        for name in names:
            old[rules.of(name)].add(name)
        for new, several in old.items():
            if len(several) > 1:
                self._found[section, tuple(sorted(several)), new].append(subject)

    def look_at_places(self, projects: Sequence[Project], places: Mapping[str, str]) -> None:
        """See whether projects stay different."""
        if NAMESPACES in self.remapping.merge:
            return
        meeting: dict[str, list[str]] = defaultdict(list)
        for namespace in (project.namespace for project in projects):
            if goal := places.get(namespace.path) or places.get(namespace.project):
                meeting[goal].append(str(namespace))
        for goal, sources in meeting.items():
            if len(sources) > 1:
                self._found[NAMESPACES, tuple(sources), goal].append("")

    def look_at_run(self, run: Run) -> None:
        subject = f"run {run.namespace}/{run.id}"
        self.look(CONFIG, run.config, subject)
        self.look(METRICS, run.summary or (), subject)
        self.look(TAGS, run.labels, subject)
        self._look_at_tags(run.tags, subject)

    def _look_at_tags(self, tags: Iterable[str], subject: str) -> None:
        if TAGS not in self.remapping.merge:
            self.look(TAGS, tags, subject)

    async def look_at_collection(self, source: CollectionSource, collection: Collection) -> None:
        found, versions = await source.collection(collection)
        subject = f"artifact {found}"
        self.look(ALIASES, {alias for one in versions for alias in one.artifact.aliases}, subject)
        self._look_at_tags(found.tags, subject)
        for version in versions:
            self._look_at_tags(version.artifact.tags, f"{subject}:v{version.number}")

    async def look_at_portfolio(self, source: LinkSource, collection: Collection) -> None:
        found = await source.portfolio(collection)
        subject = f"portfolio {collection}"
        self.look(ALIASES, {alias for link in found.links for alias in link.aliases}, subject)
        self._look_at_tags(found.collection.tags, subject)

    def errors(self) -> list[EngineError]:
        """One for each, with the places that it is about."""
        return [self._error(*what, subjects) for what, subjects in self._found.items()]

    def _error(self, section: str, several: Sequence[str], new: str, subjects: Sequence[str]) -> EngineError:
        if section == NAMESPACES:
            return ConfigError(
                f"several projects would become one: {', '.join(several)} → {new}",
                side=Side.SOURCE,
                remedy=f"send them elsewhere, or write merge: [{NAMESPACES}] into the mapping",
            )
        more = f" and {len(subjects) - SHOWN} more" if len(subjects) > SHOWN else ""
        merge = f", or write merge: [{TAGS}] into the mapping" if section == TAGS in MERGEABLE else ""
        return ConfigError(
            f"{' and '.join(map(repr, several))} ({section}) would both become {new!r}",
            side=Side.SOURCE,
            subject=f"{', '.join(subjects[:SHOWN])}{more}",
            remedy=f"choose another name in the mapping{merge}; see engine map explain",
        )


async def find_collisions(
    source: Source,
    remapping: Remapping,
    projects: Sequence[Project],
    selection: Selection,
    places: Mapping[str, str],
    *,
    artifacts: bool,
) -> list[EngineError]:
    """What would become one of all that is selected.

    Args:
        source: as it is, without the mapping.
        places: as ``Context.remap``.
        artifacts: whether they are moved, too.
    """
    collisions = Collisions(remapping)
    collisions.look_at_places(projects, places)
    for project in projects:
        if any(remapping[section] for section in (CONFIG, METRICS, TAGS)):
            async with aclosing(source.runs(project, replace(selection, limit=None))) as runs:
                async for run in runs:
                    if isinstance(run, Run):
                        collisions.look_at_run(run)
        if artifacts and any(remapping[section] for section in (ARTIFACTS, ALIASES, TAGS)):
            await _look_at_artifacts(source, collisions, project)
    return collisions.errors()


async def _look_at_artifacts(source: Source, collisions: Collisions, project: Project) -> None:
    closely = bool(collisions.remapping[ALIASES] or collisions.remapping[TAGS])
    names: list[str] = []
    if isinstance(source, CollectionSource):
        for collection in await _all(source.collections(project)):
            names.append(collection.name)
            if closely:
                await collisions.look_at_collection(source, collection)
    if isinstance(source, LinkSource):
        for portfolio in await _all(source.portfolios(project)):
            names.append(portfolio.name)
            if closely:
                await collisions.look_at_portfolio(source, portfolio)
    collisions.look(ARTIFACTS, names, f"project {project.namespace}")


async def _all(listed: AsyncGenerator[Collection]) -> list[Collection]:
    async with aclosing(listed) as collections:
        return [collection async for collection in collections]
