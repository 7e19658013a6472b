"""Artifact versions, collection by collection, after the runs that made and used them.

    list ─▶ leave out what the ledger proves ─▶ write each version in order ─▶ say of all what is said now

Collections are moved side by side, the versions of each one strictly one after the other. A version that the
source cannot give is told and left out. Any other failure makes the later versions of its collection wait for
the next transfer where they would get numbers that are not theirs. A collection of which a version refers
to another one that is not there yet is gone on with when the others are through. Links to versions come last.

Engines that share the work take collections from one list. What waits is nobody's until the first of them is
through with the list; that one takes it, waits for what the others still have in hand, and only when all that
is not done is its own can it know that what then does not move never will.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

import anyio

from engine.errors import (
    Conflict,
    EngineError,
    IntegrityError,
    NeedsRecreation,
    NotFound,
    NotYet,
    Side,
    Unsupported,
)
from engine.fanout import for_each
from engine.fingerprints import fingerprint
from engine.protocols import (
    CollectionDestination,
    CollectionRecreator,
    CollectionSource,
    CollectionWriter,
    LinkDestination,
    LinkSource,
    PartlyCollected,
    Reader,
    Source,
)
from engine.records import Artifact, Collection, Namespace, Project, Receipt, Run, RunRef, Version
from engine.transfer.failing import Failed
from engine.transfer.ledger.journal import Journal, artifact_key
from engine.transfer.ledger.leases import Claim
from engine.transfer.ledger.proofs import KnownCollection
from engine.transfer.links import Links
from engine.transfer.turns import turn

_UNREADABLE = (NotFound, IntegrityError, Unsupported)
"""What does not become better: a version of which this is said at the source will never be had."""


def by_collection(source: object, destination: object) -> bool:
    """Whether artifacts go by collections, and not by the runs that made them."""
    return isinstance(source, CollectionSource) and isinstance(destination, CollectionDestination)


def artifacts_with_runs(
    source: Source, destination: object
) -> Callable[[Run], AsyncGenerator[Artifact]] | None:
    """How the artifacts are listed that go with a run; None if all go by collections."""
    if not by_collection(source, destination):
        return source.artifacts
    return source.uncollected if isinstance(source, PartlyCollected) else None


WAITING: Final = "waiting collections"
"""The turn of the engine that has all collections which wait for others."""

Move: TypeAlias = Callable[[Collection, bool], Awaitable[bool]]


@dataclass(slots=True)
class _Progress:
    """How far a pass has come.

    Attributes:
        versions: those that arrived.
        linked: portfolios that versions are linked into.
    """

    versions: int = 0
    linked: set[Collection] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collections:
    """One pass over the collections of a source.

    Attributes:
        failed: records a failure.
        drain: when it is set, no further version is begun.
        workers: collections that are moved at the same time.
    """

    source: CollectionSource
    destination: CollectionDestination
    journal: Journal
    failed: Failed
    read: Reader
    drain: anyio.Event
    workers: int
    progress: _Progress = field(default_factory=_Progress)

    async def move(
        self,
        projects: Sequence[Project],
        targets: Mapping[Namespace, Namespace],
        chosen: frozenset[RunRef] | None,
    ) -> None:
        """Move all collections of these projects.

        Args:
            chosen: if not all runs are moved, those that are; then only collections are that hold a version
                of one of them, each as a whole, as its numbers could not be kept otherwise.

        Raises:
            EngineError: nothing further can succeed.
        """
        waiting: list[Collection] = []

        async def move(collection: Collection, last: bool) -> bool:
            return await self._move(collection, targets[collection.namespace], chosen, last=last)

        async def begin(collection: Collection) -> None:
            mine, others = await self._take([collection])
            waiting.extend(others)
            if mine and not await move(collection, False):
                await self.journal.collection_put_off(collection)
                waiting.append(collection)

        async with aclosing(self._listed(projects)) as collections:
            await for_each(collections, begin, limit=self.workers)
        if waiting:
            await self._move_waiting(waiting, move)
        await self._move_links(projects, whole=chosen is None)

    async def _take(self, wanted: Sequence[Collection]) -> tuple[Sequence[Collection], Sequence[Collection]]:
        """Those that this engine has in hand now, and those that others have."""
        taken: dict[Claim, list[Collection]] = {claim: [] for claim in Claim}
        for collection, claim in zip(wanted, await self.journal.claim_collections(wanted), strict=True):
            taken[claim].append(collection)
        for collection in taken[Claim.TRIED]:
            # Its engine may not live to make the links.
            self.progress.linked.update(await self.journal.portfolios_of(collection))
        return taken[Claim.MINE], taken[Claim.ELSEWHERE]

    async def _move_waiting(self, others: Sequence[Collection], move: Move) -> None:
        """Move collections that wait for others, or that other engines had in hand."""
        if await turn(self.journal, "", WAITING, self.drain) is None:
            return
        mine: Sequence[Collection] = ()
        while (mine or others) and not self.drain.is_set():
            taken, left = await self._take(others)
            if len(left) < len(others):
                mine = await self._move_on([*mine, *taken], move)
            others = left
            if others:
                await self.journal.wait_for_others(f"{len(others)} collections")
            else:
                mine = await self._pass(mine, move, last=True)
        await self.journal.whole_given_back("", WAITING)

    async def _move_on(self, waiting: Sequence[Collection], move: Move) -> Sequence[Collection]:
        """Move what can be moved when more and more is there; those that wait still when nothing moves."""
        moves = True
        while waiting and moves:
            before = self.progress.versions
            waiting = await self._pass(waiting, move, last=False)
            moves = self.progress.versions > before
        return waiting

    async def _pass(self, waiting: Sequence[Collection], move: Move, *, last: bool) -> Sequence[Collection]:
        """Move each once; those that wait still."""
        left: list[Collection] = []

        async def one(collection: Collection) -> None:
            if not await move(collection, last):
                left.append(collection)

        await for_each(waiting, one, limit=self.workers)
        return left

    async def _move_links(self, projects: Sequence[Project], *, whole: bool) -> None:
        if not isinstance(self.source, LinkSource) or not isinstance(self.destination, LinkDestination):
            return
        links = Links(
            source=self.source,
            destination=self.destination,
            journal=self.journal,
            failed=self.failed,
            drain=self.drain,
            workers=self.workers,
        )
        await links.move(projects, sorted(self.progress.linked, key=str), whole=whole)

    async def _listed(self, projects: Sequence[Project]) -> AsyncGenerator[Collection]:
        for project in projects:
            try:
                async with aclosing(self.source.collections(project)) as collections:
                    async for collection in collections:
                        if self.drain.is_set():
                            return
                        yield collection
            except EngineError as error:
                tell = partial(self.journal.project_listed, project)
                await self.failed("project", f"collections of {project.namespace}", error, tell)

    async def _move(
        self, listed: Collection, namespace: Namespace, chosen: frozenset[RunRef] | None, *, last: bool
    ) -> bool:
        """Move one collection that is this engine's; False if it has to wait for another one.

        Args:
            last: whether that would be in vain.
        """
        if self.drain.is_set():
            return True
        subject = f"artifact {listed.name} of {listed.namespace}"
        portfolios: set[Collection] = set()
        try:
            collection, versions = await self.source.collection(listed)
            known = await self.journal.known_of(collection, namespace)
            is_asked = chosen is None or any(version.made_by in chosen for version in versions)
            if is_asked:
                portfolios.update(*(version.portfolios for version in versions))
                self.progress.linked |= portfolios
            if not is_asked or known.fingerprint == fingerprint(collection, versions):
                await self.journal.collection_left(listed)
                return True
            try:
                writer, whole = await self._written(collection, versions, namespace, known, last=last)
            except NotYet:
                return False
            # Names may have moved while the bytes did; versions that came meanwhile are for the next time.
            brought = {(one.number, one.artifact.digest) for one in versions}
            collection, versions = await self.source.collection(collection)
            whole = whole and brought.issuperset((one.number, one.artifact.digest) for one in versions)
            await writer.finish(collection, versions)
        except Exception as error:  # noqa: BLE001 - becomes a failure record
            tell = partial(self._tell, listed, namespace, portfolios)
            await self.failed("collection", subject, error, tell)
            return True
        await self.journal.collection_ended(
            collection,
            namespace,
            fingerprint=fingerprint(collection, versions) if whole else None,
            portfolios=portfolios,
            interrupted=not whole and self.drain.is_set(),
        )
        return True

    async def _written(
        self,
        collection: Collection,
        versions: Sequence[Version],
        namespace: Namespace,
        known: KnownCollection,
        *,
        last: bool,
    ) -> tuple[CollectionWriter, bool]:
        """Write all that has not arrived yet; the writer, and whether all is there then.

        Raises:
            NotYet: a version depends on one that may still come.
        """
        try:
            writer = await self.destination.open_collection(collection, namespace)
            return writer, await self._write(writer, versions, namespace, known, last=last)
        except NeedsRecreation:
            assert isinstance(self.destination, CollectionRecreator)
            # On disk before anything is deleted, lest a later transfer takes it to be there.
            await self.journal.collection_forgotten(collection, namespace, known)
            await self.destination.delete_collection(collection, namespace)
            writer = await self.destination.open_collection(collection, namespace)
            return writer, await self._write(writer, versions, namespace, KnownCollection(), last=last)

    async def _tell(
        self,
        collection: Collection,
        namespace: Namespace,
        portfolios: Iterable[Collection],
        error: EngineError,
    ) -> None:
        await self.journal.collection_ended(collection, namespace, error=error, portfolios=portfolios)

    async def _write(
        self,
        writer: CollectionWriter,
        versions: Sequence[Version],
        namespace: Namespace,
        known: KnownCollection,
        *,
        last: bool,
    ) -> bool:
        """Write what has not arrived yet; whether all of it is there then.

        Raises:
            NotYet: a version depends on one that may still come.
            NeedsRecreation: what is there has to be deleted first.
        """
        whole = True
        for position, version in enumerate(versions):
            if self.drain.is_set():
                return False
            artifact = version.artifact
            key = artifact_key(artifact)
            if artifact.digest is not None and known.versions.get(key) == artifact.digest:
                continue
            try:
                receipt = await self._write_one(writer, version)
            except NeedsRecreation:
                raise
            except Exception as error:
                if isinstance(error, NotYet) and not last:
                    raise
                whole = False
                failure = await self._version_failed(version, namespace, error)
                is_left_out = isinstance(failure, _UNREADABLE) and failure.side is Side.SOURCE
                if writer.in_order and not is_left_out:
                    await self._put_off(versions[position + 1 :], namespace, version)
                    break
            else:
                await self.journal.version_done(version, namespace, receipt)
                self.progress.versions += not receipt.skipped
        return whole

    async def _write_one(self, writer: CollectionWriter, version: Version) -> Receipt:
        made_by = version.made_by if writer.in_order else None
        if made_by is not None and await self.journal.did_not_arrive(made_by):
            raise Conflict(
                f"it waits for run {made_by.id} that made it, which did not arrive",
                side=Side.DESTINATION,
                subject=_named(version),
                remedy="run the same command again when the cause is mended",
            )
        async with aclosing(self.source.entries(version.artifact)) as entries:
            return await writer.write(version, entries, self.read)

    async def _version_failed(self, version: Version, namespace: Namespace, error: Exception) -> EngineError:
        tell = partial(self.journal.version_failed, version, namespace)
        return await self.failed("artifact", _named(version), error, tell)

    async def _put_off(self, versions: Sequence[Version], namespace: Namespace, cause: Version) -> None:
        for version in versions:
            error = Conflict(
                f"it waits for v{cause.number}, which did not arrive: numbers are given in order",
                side=Side.DESTINATION,
                subject=_named(version),
                remedy="run the same command again when the cause is mended",
            )
            await self._version_failed(version, namespace, error)


def _named(version: Version) -> str:
    return f"artifact {version.artifact.name}:v{version.number} of {version.artifact.namespace}"


def collections_between(
    source: object, destination: object, *, wanted: bool, **rest: Any
) -> Collections | None:
    """What moves collections; None if artifacts go by the runs that made them, or not at all.

    Args:
        rest: of ``Collections``.
    """
    if wanted and isinstance(source, CollectionSource) and isinstance(destination, CollectionDestination):
        return Collections(source=source, destination=destination, **rest)
    return None
