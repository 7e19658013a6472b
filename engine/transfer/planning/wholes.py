"""What belongs to no single run: how much of it a transfer would bring, and what would be in its way.

Sides are asked for what is said of each collection of artifact versions, not for what is in it, and for all
sweeps and reports, as a transfer asks them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from engine.errors import EngineError, Problem
from engine.fanout import for_each
from engine.fingerprints import fingerprint
from engine.protocols import (
    CollectionForeteller,
    CollectionSource,
    Destination,
    LinkDestination,
    LinkForeteller,
    LinkSource,
    Source,
)
from engine.records import Collection, Namespace, Project, Version
from engine.reports import ReportDestination, ReportSource
from engine.transfer.collections import by_collection
from engine.transfer.ledger.items import Kind
from engine.transfer.ledger.journal import artifact_key, collection_key
from engine.transfer.ledger.proofs import Proofs, report_key
from engine.transfer.links import NOWHERE
from engine.transfer.options import Options
from engine.transfer.planning.measuring import Failures
from engine.transfer.planning.preflight import Sides

TOGETHER = 8
"""Collections that are looked at at the same time."""

Arrived = Mapping[tuple[Kind, str], str | None]


@dataclass(slots=True)
class Wholes:
    """What there is to move, and what is in the way.

    Attributes:
        collections: of artifact versions that have something new.
        versions: new ones in them, whichever runs made them.
        portfolios: collections of links that are new or changed.
        sweeps, reports: that are new, or changed; drafts and saved views are reports.
        obstacles: collections that cannot be brought as they are, or would have others deleted for them, and
            what has to be made for links.
    """

    collections: int = 0
    versions: int = 0
    portfolios: int = 0
    sweeps: int = 0
    reports: int = 0
    obstacles: tuple[Problem, ...] = ()


@dataclass(slots=True)
class WholesLook:
    """Looks at both sides of a transfer, which are open."""

    source: Source
    destination: Destination
    options: Options
    sides: Sides
    proofs: Proofs | None
    failures: Failures
    found: Wholes = field(default_factory=Wholes)
    _arrived: dict[Namespace, Arrived] = field(default_factory=dict)
    _linked: set[Collection] = field(default_factory=set)
    _portfolios: set[str] = field(default_factory=set)

    async def look(self) -> Wholes:
        """All of it; what cannot be looked at is added to ``failures``."""
        for project in self.sides.projects:
            namespace, target = project.namespace, self._target(project.namespace)
            known = None if self.proofs is None else await self.proofs.whole(namespace, target)
            self._arrived[namespace] = known or {}
        if self.options.artifacts and by_collection(self.source, self.destination):
            await self._look_at_collections()
            if isinstance(self.source, LinkSource) and isinstance(self.destination, LinkDestination):
                await self._look_at_portfolios(self.source)
        if isinstance(self.source, ReportSource) and isinstance(self.destination, ReportDestination):
            for project in self.sides.projects:
                await self._look_at_reports(self.source, project)
        return self.found

    def _target(self, source: Namespace) -> Namespace | None:
        survey = self.sides.survey
        return None if survey is None else survey.targets[source]

    # -- collections -------------------------------------------------------------------------------

    async def _look_at_collections(self) -> None:
        problems: list[tuple[str, Problem]] = []

        async def look(listed: Collection) -> None:
            assert isinstance(self.source, CollectionSource)
            try:
                collection, versions = await self.source.collection(listed)
                self._count(collection.namespace, versions)
                self._linked.update(*(version.portfolios for version in versions))
                problem = await self._problem(collection, versions)
            except EngineError as error:
                self.failures.add(error, f"artifact {listed.name} of {listed.namespace}")
            else:
                if problem is not None:
                    problems.append((str(collection), problem))

        async with aclosing(self._collections()) as collections:
            await for_each(collections, look, limit=TOGETHER)
        self.found.obstacles = tuple(problem for _, problem in sorted(problems, key=lambda pair: pair[0]))

    async def _collections(self) -> AsyncGenerator[Collection]:
        assert isinstance(self.source, CollectionSource)
        for project in self.sides.projects:
            try:
                async with aclosing(self.source.collections(project)) as collections:
                    async for collection in collections:
                        yield collection
            except EngineError as error:
                self.failures.add(error, f"collections of {project.namespace}")

    def _count(self, namespace: Namespace, versions: Sequence[Version]) -> None:
        arrived = self._arrived[namespace]
        artifacts = [version.artifact for version in versions]
        new = [
            one
            for one in artifacts
            if one.digest is None or arrived.get((Kind.ARTIFACT, artifact_key(one))) != one.digest
        ]
        self.found.collections += bool(new)
        self.found.versions += len(new)

    async def _problem(self, collection: Collection, versions: Sequence[Version]) -> Problem | None:
        """What is in its way; where there is no project yet, there is nothing."""
        survey, target = self.sides.survey, self._target(collection.namespace)
        if survey is None or target is None or target in survey.missing:
            return None
        if not isinstance(self.destination, CollectionForeteller):
            return None
        return await self.destination.foretell_collection(collection, versions, target)

    # -- portfolios --------------------------------------------------------------------------------

    async def _look_at_portfolios(self, source: LinkSource) -> None:
        """Those of the projects, and those elsewhere into which versions are linked."""
        problems: dict[str, Problem] = {}

        async def look(listed: Collection) -> None:
            try:
                portfolio = await source.portfolio(listed)
                self.found.portfolios += await self._known(listed) != fingerprint(portfolio)
                if isinstance(self.destination, LinkForeteller):
                    problem = await self.destination.foretell_portfolio(portfolio)
                    if problem is not None:
                        problems[problem.subject or str(listed)] = problem
            except EngineError as error:
                self.failures.add(error, f"portfolio {listed}")

        async with aclosing(self._listed_portfolios(source)) as portfolios:
            await for_each(portfolios, look, limit=TOGETHER)
        self.found.obstacles += tuple(problems[subject] for subject in sorted(problems))

    async def _listed_portfolios(self, source: LinkSource) -> AsyncGenerator[Collection]:
        for project in self.sides.projects:
            try:
                async with aclosing(source.portfolios(project)) as portfolios:
                    async for listed in portfolios:
                        self._linked.add(listed)
            except EngineError as error:
                self.failures.add(error, f"portfolios of {project.namespace}")
        for listed in sorted(self._linked, key=str):
            if str(listed) not in self._portfolios:
                self._portfolios.add(str(listed))
                yield listed

    async def _known(self, listed: Collection) -> str | None:
        """The fingerprint of a portfolio that arrived."""
        if self.proofs is None:
            return None
        arrived = await self.proofs.whole(listed.namespace, NOWHERE)
        return arrived.get((Kind.COLLECTION, collection_key(listed)))

    # -- sweeps and reports ------------------------------------------------------------------------

    async def _look_at_reports(self, source: ReportSource, project: Project) -> None:
        arrived = self._arrived[project.namespace]
        try:
            async with aclosing(source.sweeps(project)) as sweeps:
                async for sweep in sweeps:
                    self.found.sweeps += arrived.get(report_key(sweep)) != fingerprint(sweep)
            if self.options.reports:
                async with aclosing(source.views(project)) as views:
                    async for view in views:
                        self.found.reports += arrived.get(report_key(view)) != fingerprint(view)
        except EngineError as error:
            self.failures.add(error, f"sweeps and reports of {project.namespace}")
