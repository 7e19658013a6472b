"""What a destination says of itself, so that a difference is a difference.

A destination may have to rename, split or move what it is given. Its audit says what of a source's record
must be found there, in the same terms in which it puts what was read back. It is written from what was
declared, not from how things are written: the writer is what is being checked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from engine.errors import Unsupported
from engine.protocols import Destination, Source, Unreadable, Verifiable
from engine.records import (
    Artifact,
    ArtifactEntry,
    Blob,
    ConsoleLine,
    HistoryChunk,
    Json,
    Link,
    Loss,
    Namespace,
    Project,
    Run,
    RunFile,
    RunRef,
    Selection,
    SystemInfo,
    Version,
)
from engine.records import Collection as ArtifactCollection
from engine.reports import Sweep, View
from engine.verify.values import Fact, Facts

if TYPE_CHECKING:
    from engine.transfer.context import Context


class Audit(Protocol):
    """A destination read back. All but ``open`` is used inside of ``async with audit.open(context)``.

    Whatever is declared, because the destination holds it in another form, is recorded with
    ``context.lose``, by the kinds that the writer uses.
    """

    step_column: str | None
    """Where a history row that was numbered anew keeps its own step."""

    @property
    def source(self) -> Source:
        """The destination as something to read from."""
        ...

    def open(self, context: Context) -> AbstractAsyncContextManager[SystemInfo]:
        """Connect; writes nothing. ``context.source`` is known."""
        ...

    async def places(self, projects: Sequence[Project]) -> Mapping[Namespace, Namespace]:
        """Where each source project went; creates nothing."""
        ...

    def runs(self, namespace: Namespace, ids: Sequence[str]) -> AsyncGenerator[Run | Unreadable]:
        """Those of these runs that are there, in any order."""
        ...

    def others(self, namespace: Namespace) -> AsyncGenerator[Run | Unreadable]:
        """All runs that are there."""
        ...

    def run_id(self, run: Run) -> str:
        """The id by which a run of the source is found."""
        ...

    def claims(self, found: Run) -> bool:
        """Whether a run at the destination says that it came from this source."""
        ...

    def expected(self, run: Run, namespace: Namespace) -> Facts:
        """What must be said of a run of the source."""
        ...

    def found(self, run: Run) -> Facts:
        """What is said of a run that was read back, without what changes by itself."""
        ...

    def counted(self, found: Run) -> Mapping[str, int]:
        """How many ``files`` and ``artifacts`` a run has, as far as the list of runs told."""
        ...

    def told(self, found: Run) -> Sequence[Loss]:
        """What the run itself tells of what did not arrive as it was."""
        ...

    def columns(self, run: Run, keys: Collection[str]) -> Mapping[str, str]:
        """New names of those keys of a history that could not be kept."""
        ...

    def expected_chunk(self, chunk: HistoryChunk, namespace: Namespace) -> HistoryChunk:
        """What must be found of a part of a history in a project of the destination.

        The same object if that is the part as it is. If it is not, a history that is as it was at the source
        throughout will do as well, as earlier releases brought it.
        """
        ...

    def starts_at(self, run: Run) -> int | None:
        """When the clock of a history began, ms; None for its first point."""
        ...

    def expected_line(self, line: ConsoleLine, subject: str) -> ConsoleLine | None:
        """What must be found of a line of the console of ``subject``; None if it is left out."""
        ...

    def expected_file(self, file: RunFile) -> RunFile | None:
        """What must be found of a file of a run; None if it is refused."""
        ...

    def added_files(self, run: Run) -> Collection[str]:
        """Files that every run has at the destination, whether or not the source has them."""
        ...

    def artifact_name(self, artifact: Artifact) -> tuple[str, str]:
        """Type and name of the collection of an artifact of the source."""
        ...

    def keeps(self, found: Artifact) -> bool:
        """Whether a version that was read back can have come from a source; servers make some too."""
        ...

    def origin(self, found: Artifact) -> int | None:
        """The number that a version had at the source."""
        ...

    def expected_artifact(self, artifact: Artifact) -> Facts: ...

    def found_artifact(self, artifact: Artifact) -> Facts: ...

    def expected_entry(self, entry: ArtifactEntry, subject: str) -> ArtifactEntry | None:
        """What must be found of an entry of the artifact ``subject``; None if it is refused."""
        ...

    def refuses(self, path: str, others: Collection[str]) -> bool:
        """Whether an entry can't be where the others are."""
        ...

    def content_digest(self, entries: Mapping[str, str]) -> str | None:
        """The digest of an artifact with these digests by path; None if there is no such thing."""
        ...


def audit_of(destination: Destination | Verifiable) -> Audit:
    """How a destination is read back.

    Raises:
        Unsupported: it cannot be.
    """
    if not isinstance(destination, Verifiable):
        raise Unsupported(
            "this destination cannot be read back, so nothing can be verified", subject=destination.uri
        )
    return destination.audit()


@runtime_checkable
class CollectionAudit(Audit, Protocol):
    """That of a destination that takes artifacts by collections; its source is a ``CollectionSource``."""

    @property
    def tells_uses(self) -> bool:
        """Whether the names under which runs used versions can be read back."""
        ...

    def collection_here(self, collection: ArtifactCollection, namespace: Namespace) -> ArtifactCollection:
        """As what a collection of the source is found in a project of the destination."""
        ...

    def portfolio_here(self, portfolio: ArtifactCollection, namespace: Namespace) -> ArtifactCollection:
        """The same of a collection of links."""
        ...

    async def portfolio_place(self, namespace: Namespace) -> Namespace | None:
        """Where the portfolios of a project are that was not moved, such as a registry; None if nowhere."""
        ...

    def aliases_here(self, link: Link) -> Sequence[str]:
        """Those aliases of a link that there can be."""
        ...

    def run_here(self, run: RunRef, namespace: Namespace) -> RunRef:
        """As what a run of the source is found there."""
        ...

    def expected_collection(self, collection: ArtifactCollection) -> Facts:
        """What must be said of a collection, besides of its versions."""
        ...

    def found_collection(self, collection: ArtifactCollection) -> Facts: ...

    def expected_version(self, version: Version) -> Facts:
        """What must be said of a version, besides of who made and used it."""
        ...

    def found_version(self, version: Version) -> Facts: ...


@runtime_checkable
class ReportAudit(Audit, Protocol):
    """That of a destination that takes sweeps and views; its source is a ``ReportSource``."""

    async def sweep(self, sweep: Sweep, namespace: Namespace) -> Sweep | None:
        """What a sweep of the source is in a project of the destination; None if it is not there."""
        ...

    def expected_sweep(self, sweep: Sweep) -> Facts: ...

    def found_sweep(self, sweep: Sweep) -> Facts: ...

    async def view(self, view: View, namespace: Namespace) -> View | None:
        """What a view of the source is there; asked for project by project, reports before drafts."""
        ...

    async def expected_view(self, view: View) -> View:
        """What a view of the source must be there."""
        ...

    def found_view(self, view: View) -> View:
        """A view that was read back, without what the destination adds of its own."""
        ...

    def said_of_view(self, view: View) -> Facts:
        """What there is to compare of an expected view, or of one that was found, besides its spec."""
        ...

    def files_of_view(self, view: View) -> Mapping[str, Blob]:
        """Files that the destination keeps with a view itself, by their addresses in it."""
        ...


_LISTS: Final = frozenset({"config", "summary", "labels", "extra"})
"""Fields with a fact for each key."""

_NOT_COMPARED: Final = frozenset({"id", "namespace", "locator", "fingerprint", "url", "heartbeat_at"})


class AsIs:
    """The audit of a destination that keeps everything exactly as it is given; others begin from it.

    Args:
        source: the destination as something to read from.
    """

    step_column: str | None = None
    tells_uses = True

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def source(self) -> Source:
        return self._source

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        async with self._source.open(context) as info:
            self._runs: dict[Namespace, dict[str, Run | Unreadable]] = {}
            yield info

    async def places(self, projects: Sequence[Project]) -> Mapping[Namespace, Namespace]:
        return {project.namespace: project.namespace for project in projects}

    async def runs(self, namespace: Namespace, ids: Sequence[str]) -> AsyncGenerator[Run | Unreadable]:
        if namespace not in self._runs:
            self._runs[namespace] = {run.id: run async for run in self.others(namespace)}
        for run_id in ids:
            if run_id in self._runs[namespace]:
                yield self._runs[namespace][run_id]

    async def others(self, namespace: Namespace) -> AsyncGenerator[Run | Unreadable]:
        everything = Selection(include_deleted=True)
        async with aclosing(self._source.projects(everything)) as projects:
            async for project in projects:
                if project.namespace != namespace:
                    continue
                async with aclosing(self._source.runs(project, everything)) as runs:
                    async for run in runs:
                        yield run

    def run_id(self, run: Run) -> str:
        return run.id

    def claims(self, found: Run) -> bool:  # noqa: ARG002
        return True

    def expected(self, run: Run, namespace: Namespace) -> Facts:  # noqa: ARG002
        return self.found(run)

    def found(self, run: Run) -> Facts:
        facts: dict[Fact, Json] = {}
        for field in fields(run):
            value = getattr(run, field.name)
            if field.name in _NOT_COMPARED:
                continue
            if field.name in _LISTS:
                facts |= {(field.name, key): item for key, item in (value or {}).items()}
            else:
                facts[(field.name,)] = value
        return facts

    def counted(self, found: Run) -> Mapping[str, int]:  # noqa: ARG002
        return {}

    def told(self, found: Run) -> Sequence[Loss]:  # noqa: ARG002
        return ()

    def columns(self, run: Run, keys: Collection[str]) -> Mapping[str, str]:  # noqa: ARG002
        return {}

    def expected_chunk(self, chunk: HistoryChunk, namespace: Namespace) -> HistoryChunk:  # noqa: ARG002
        return chunk

    def starts_at(self, run: Run) -> int | None:
        return run.started_at

    def expected_line(self, line: ConsoleLine, subject: str) -> ConsoleLine | None:  # noqa: ARG002
        return line

    def expected_file(self, file: RunFile) -> RunFile | None:
        return file

    def added_files(self, run: Run) -> Collection[str]:  # noqa: ARG002
        return ()

    def artifact_name(self, artifact: Artifact) -> tuple[str, str]:
        return artifact.type, artifact.name

    def keeps(self, found: Artifact) -> bool:  # noqa: ARG002
        return True

    def origin(self, found: Artifact) -> int | None:
        return found.version

    def expected_artifact(self, artifact: Artifact) -> Facts:
        return self.found_artifact(artifact)

    def found_artifact(self, artifact: Artifact) -> Facts:
        return {
            ("description",): artifact.description,
            ("created_at",): artifact.created_at,
            **{("metadata", key): value for key, value in artifact.metadata.items()},
            **{("alias", alias): True for alias in artifact.aliases},
            **{("tag", tag): True for tag in artifact.tags},
        }

    def expected_entry(self, entry: ArtifactEntry, subject: str) -> ArtifactEntry | None:  # noqa: ARG002
        return entry

    def refuses(self, path: str, others: Collection[str]) -> bool:  # noqa: ARG002
        return False

    def content_digest(self, entries: Mapping[str, str]) -> str | None:  # noqa: ARG002
        return None

    def collection_here(self, collection: ArtifactCollection, namespace: Namespace) -> ArtifactCollection:
        return replace(collection, namespace=namespace)

    def portfolio_here(self, portfolio: ArtifactCollection, namespace: Namespace) -> ArtifactCollection:
        return replace(portfolio, namespace=namespace)

    async def portfolio_place(self, namespace: Namespace) -> Namespace | None:
        return namespace

    def aliases_here(self, link: Link) -> Sequence[str]:
        return link.aliases

    def run_here(self, run: RunRef, namespace: Namespace) -> RunRef:
        return replace(run, namespace=namespace)

    def expected_collection(self, collection: ArtifactCollection) -> Facts:
        return self.found_collection(collection)

    def found_collection(self, collection: ArtifactCollection) -> Facts:
        return {
            ("type",): collection.type,
            ("description",): collection.description,
            **{("tag", tag): True for tag in collection.tags},
        }

    def expected_version(self, version: Version) -> Facts:
        return self.found_version(version)

    def found_version(self, version: Version) -> Facts:
        return {
            ("ttl",): version.artifact.ttl_s,
            ("step",): version.step,
            **self.found_artifact(version.artifact),
        }
