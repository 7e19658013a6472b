"""Collections of artifact versions on both sides: what is said of them, their versions, and their lineage.

For sources and destinations that move artifacts by collections (``engine.transfer.collections``): what was
moved together is compared together, so that versions of runs that are gone are looked at as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from collections.abc import Collection as Some
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import anyio

from engine.errors import NotFound
from engine.fanout import for_each
from engine.protocols import CollectionSource
from engine.records import ArtifactEntry, Collection, Namespace, Project, Run, RunRef, Use, Version
from engine.verify.audit import CollectionAudit
from engine.verify.certificate import CertifiedObject
from engine.verify.contents import leaves
from engine.verify.merkle import facts_root, root_of
from engine.verify.scope import Scope
from engine.verify.values import canonical
from engine.verify.versions import compare_versions, entries_at

COLLECTION: Final = "collection"
VERSION: Final = "version"
"""How certificates call them."""


@dataclass(slots=True, kw_only=True)
class CollectionsCheck:
    """Compares all collections of some projects.

    Attributes:
        source, there: both sides, to be read.
        targets: where projects went.
        failed: what is known not to have arrived, and why, by subject.
        complete: whether what the source does not have is a difference.
        chosen: if not all runs were moved, those that were: then collections are looked at that hold a
            version of one of them.
        roots: what the destination holds.
        linked: portfolios that versions are linked into, wherever they are.
    """

    scope: Scope
    source: CollectionSource
    there: CollectionSource
    audit: CollectionAudit
    targets: Mapping[Namespace, Namespace]
    failed: Mapping[str, str]
    complete: bool
    chosen: Some[RunRef] | None
    workers: int
    roots: list[CertifiedObject] = field(default_factory=list)
    linked: set[Collection] = field(default_factory=set)
    _here: dict[Namespace, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    _claimed: dict[RunRef, bool | None] = field(default_factory=dict)
    _asking: anyio.Lock = field(default_factory=anyio.Lock)

    async def compare(self, projects: Sequence[Project]) -> None:
        """All of them.

        Raises:
            EngineError: nothing further can be read.
        """
        async with aclosing(self._listed(projects)) as collections:
            await for_each(collections, self._compare, limit=self.workers)

    async def look_for_others(self, namespaces: Iterable[Namespace]) -> None:
        """Collections at the destination with versions of runs of the source, which does not have them."""
        for namespace in namespaces:
            try:
                project = Project(namespace=namespace, id=namespace.path)
                async with aclosing(self.there.collections(project)) as collections:
                    async for listed in collections:
                        if (listed.type, listed.name) not in self._here[namespace]:
                            await self._other(listed)
            except NotFound:
                continue  # no project, no collections
            except Exception as error:  # noqa: BLE001 - becomes a finding
                self.scope.unread(f"collections of {namespace}", error)

    async def _listed(self, projects: Sequence[Project]) -> AsyncGenerator[Collection]:
        for project in projects:
            try:
                async with aclosing(self.source.collections(project)) as collections:
                    async for collection in collections:
                        yield collection
            except Exception as error:  # noqa: BLE001 - becomes a finding
                subject = f"collections of {project.namespace}"
                self.scope.unread(subject, error, expected=subject in self.failed)

    async def _compare(self, listed: Collection) -> None:
        here = self.audit.collection_here(listed, self.targets[listed.namespace])
        self._here[here.namespace].add((here.type, here.name))
        subject = f"artifact {listed.name} of {listed.namespace}"
        if (reason := self.failed.get(subject)) is not None:
            self.scope.leave_out(subject, reason, expected=True)
            return
        try:
            collection, versions = await self.source.collection(listed)
            if self.chosen is not None and not any(version.made_by in self.chosen for version in versions):
                return
            self.linked.update(*(version.portfolios for version in versions))
            try:
                found, held = await self.there.collection(here)
            except NotFound:
                # One of which all versions were deleted is nothing that could be brought.
                if versions:
                    self.scope.differ("missing", COLLECTION, f"is missing in {here.namespace}", subject)
                return
            expected = self.audit.expected_collection(collection)
            self.scope.compare_facts(expected, self.audit.found_collection(found), subject)
            check = _VersionsCheck(self, here.namespace, held={one.number: one for one in held})
            roots = await check.compare(collection, versions)
        except Exception as error:  # noqa: BLE001 - becomes a finding
            self.scope.unread(subject, error)
            return
        self.scope.findings.counts.collections += 1
        self.roots += [certified_collection(self.audit, found), *roots]

    async def _other(self, listed: Collection) -> None:
        found, versions = await self.there.collection(listed)
        makers = await self.claimed({one.made_by for one in versions if one.made_by is not None})
        if any(makers.values()):
            detail = f"is in {found.namespace}, with versions of runs of the source, which does not have it"
            self.scope.differ("extra", COLLECTION, detail, f"artifact {found.name}")

    def here(self, run: RunRef | None) -> RunRef | None:
        """Where a run of the source has to be, None if it was not moved."""
        if run is None or run.namespace not in self.targets:
            return None
        return self.audit.run_here(run, self.targets[run.namespace])

    async def claimed(self, wanted: Some[RunRef]) -> dict[RunRef, bool | None]:
        """Whether these runs say that they came from the source; None for those that are not there.

        Each is asked for once, by whichever collection comes first.
        """
        async with self._asking:
            asked: dict[Namespace, list[str]] = defaultdict(list)
            for ref in sorted({*wanted} - self._claimed.keys()):
                asked[ref.namespace].append(ref.id)
                self._claimed[ref] = None
            for namespace, ids in asked.items():
                async with aclosing(self.audit.runs(namespace, ids)) as runs:
                    async for run in runs:
                        if isinstance(run, Run):
                            self._claimed[RunRef(namespace, run.id)] = self.audit.claims(run)
            return {ref: self._claimed[ref] for ref in wanted}


@dataclass(slots=True)
class _VersionsCheck:
    """Compares the versions of one collection, and hashes what the destination holds of them."""

    all: CollectionsCheck
    namespace: Namespace
    held: Mapping[int, Version]

    async def compare(self, collection: Collection, versions: Sequence[Version]) -> list[CertifiedObject]:
        roots: list[CertifiedObject] = []
        failed = set()
        for version in versions:
            subject = _subject(collection, version.number)
            if (reason := self.all.failed.get(subject)) is not None:
                self.all.scope.leave_out(subject, reason, expected=True)
                failed.add(version.number)
            elif (found := self.held.get(version.number)) is None:
                detail = f"is missing in {self.namespace}"
                self.all.scope.differ("missing", "artifact", detail, subject, _maker(version))
            else:
                roots.append(await self._compare(version, found, subject))
            self.all.scope.findings.counts.artifacts += 1
        if self.all.complete:
            for number in sorted(self.held.keys() - {one.number for one in versions} - failed):
                await self._extra(self.held[number], _subject(collection, number))
        return roots

    async def _compare(self, version: Version, found: Version, subject: str) -> CertifiedObject:
        scope, audit, run = self.all.scope, self.all.audit, _maker(version)
        scope.compare_facts(audit.expected_version(version), audit.found_version(found), subject, run)
        await self._compare_maker(version, found, subject)
        await self._compare_users(version, found, subject)
        entries = await entries_at(audit, found.artifact, scope.level)
        if entries is not None:
            await compare_versions(scope, version.artifact, found.artifact, entries, subject, run)
        return certified_version(audit, found, entries)

    async def _compare_maker(self, version: Version, found: Version, subject: str) -> None:
        scope, wanted = self.all.scope, self.all.here(version.made_by)
        if wanted is None or wanted.namespace != self.namespace or not await self._is_there(wanted):
            maker = "a person" if version.made_by is None else f"run {version.made_by.id}"
            scope.context.lose("producer_missing", subject, f"made by {maker}, not at the destination")
        elif found.made_by != wanted:
            there = "nobody" if found.made_by is None else _named(found.made_by)
            detail = f"created by: {_named(wanted)} expected, {there} found"
            scope.differ("changed", "created by", detail, subject, _maker(version))

    async def _compare_users(self, version: Version, found: Version, subject: str) -> None:
        scope = self.all.scope
        here = {run: self.all.here(run) for run in version.used_by}
        wanted = {place for place in here.values() if place is not None}
        unknown = await self.all.claimed(wanted.symmetric_difference(found.used_by))
        for run, place in here.items():
            if place is None or (place in unknown and unknown[place] is None):
                detail = f"used by {_named(run)}, which is not at the destination"
                scope.context.lose("use_dropped", subject, detail)
            elif place in unknown:
                detail = f"used by {_named(place)}: this edge is missing"
                scope.differ("missing", "used by", detail, subject, run.id)
        self._compare_names(version, found, subject)
        for place in sorted({*found.used_by} - wanted) if self.all.complete else ():
            # What people do with it at the destination is nobody's business.
            if unknown[place]:
                detail = f"used by {_named(place)}: the source has no such edge"
                scope.differ("extra", "used by", detail, subject, place.id)

    def _compare_names(self, version: Version, found: Version, subject: str) -> None:
        """The names of uses, where the uses themselves are there."""
        scope = self.all.scope
        wanted = {
            Use(place, use.name): use.run.id
            for use in version.used_as
            if (place := self.all.here(use.run)) is not None and place in found.used_by
        }
        for use in sorted(wanted.keys() - {*found.used_as}):
            if self.all.audit.tells_uses:
                detail = f"used by {_named(use.run)} as {use.name!r}: this name is missing"
                scope.differ("missing", "used as", detail, subject, wanted[use])
            else:
                detail = f"used by {_named(use.run)} as {use.name!r}, which this server does not tell"
                scope.context.lose("use_name_dropped", subject, detail)
        runs = {use.run for use in wanted}
        for use in sorted({*found.used_as} - wanted.keys()) if self.all.complete else ():
            if use.run in runs:
                detail = f"used by {_named(use.run)} as {use.name!r}: the source has no such name"
                scope.differ("extra", "used as", detail, subject, use.run.id)

    async def _is_there(self, run: RunRef) -> bool:
        return (await self.all.claimed([run]))[run] is not None

    async def _extra(self, found: Version, subject: str) -> None:
        """A version that the source does not have, unless a run made it that came from elsewhere."""
        maker = found.made_by
        if maker is not None and (await self.all.claimed([maker]))[maker] is False:
            return
        detail = f"is in {self.namespace}; the source does not have it"
        self.all.scope.differ("extra", "artifact", detail, subject, _maker(found))


def certified_collection(audit: CollectionAudit, found: Collection) -> CertifiedObject:
    """What is said of a collection at the destination."""
    root = facts_root(audit.found_collection(found))
    return CertifiedObject(COLLECTION, found.namespace.path, f"{found.type}/{found.name}", root)


def certified_version(
    audit: CollectionAudit, found: Version, entries: Mapping[str, ArtifactEntry] | None
) -> CertifiedObject:
    """A version at the destination and, where they were read, its entries.

    Who used it is no part of that: people may go on using it.
    """
    artifact = found.artifact
    facts = (canonical([*fact, value]) for fact, value in audit.found_version(found).items())
    texts = [canonical(["artifact", artifact.digest, found.made_by]), *facts]
    root = root_of([*texts, *(leaves(entries) if entries is not None else ())])
    name = f"{artifact.type}/{artifact.name}:v{found.number}"
    return CertifiedObject(VERSION, artifact.namespace.path, name, root)


def _subject(collection: Collection, number: int) -> str:
    return f"artifact {collection.name}:v{number} of {collection.namespace}"


def _maker(version: Version) -> str | None:
    return None if version.made_by is None else version.made_by.id


def _named(run: RunRef) -> str:
    return f"run {run.id} of {run.namespace}"
