"""What a system implements to take part: a ``Source``, a ``Destination``, or both.

A new system is one module with a ``System`` and one entry point:

    [project.entry-points."engine.systems"]
    mytracker = "mytracker.engine:SYSTEM"

after which ``mytracker:…`` is a URI that every command understands.
``tests/conformance.py`` holds the checks that any implementation must pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from engine.errors import ConfigError, EngineError, Problem
from engine.records import (
    Artifact,
    ArtifactEntry,
    Blob,
    Collection,
    ConsoleLines,
    HistoryChunk,
    HistoryRows,
    HistorySize,
    Json,
    Namespace,
    Portfolio,
    Project,
    Receipt,
    Run,
    RunFile,
    Selection,
    SystemInfo,
    Version,
)

if TYPE_CHECKING:
    from engine.transfer.context import Context
    from engine.verify.audit import Audit

Reader: TypeAlias = Callable[..., AsyncGenerator[bytes]]
"""``read(blob, offset=0)``: the bytes of a blob from ``offset`` on, in pieces of at most 1 MiB."""


class Source(Protocol):
    """Something to read from. It has no method that could change anything.

    Used as ``async with source.open(context):``; all other methods are called inside.
    Each async generator may be closed early and must then release what it holds.
    """

    uri: str

    def open(self, context: Context) -> AbstractAsyncContextManager[SystemInfo]:
        """Connect and check.

        Raises:
            ConfigError: the URI or the options cannot work.
            AuthError: the credentials are refused.
            Transient: the system cannot be reached.
            Unsupported: its version or schema is not known.
        """
        ...

    def projects(self, selection: Selection) -> AsyncGenerator[Project]:
        """All projects that the selection names.

        Raises:
            ConfigError: a name in the selection matches nothing.
        """
        ...

    def runs(self, project: Project, selection: Selection) -> AsyncGenerator[Run | Unreadable]:
        """All runs of a project, each once; one that cannot be read comes as ``Unreadable``."""
        ...

    def history(self, run: Run) -> AsyncGenerator[HistoryChunk]:
        """Every point of a run's history, in chunks of bounded size."""
        ...

    def files(self, run: Run) -> AsyncGenerator[RunFile]:
        """The files of a run that belong to no artifact."""
        ...

    def artifacts(self, run: Run) -> AsyncGenerator[Artifact]:
        """The artifact versions that a run made."""
        ...

    def entries(self, artifact: Artifact) -> AsyncGenerator[ArtifactEntry]:
        """The entries of an artifact version, streamed."""
        ...

    def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        """The bytes of a blob from ``offset`` on, in pieces of at most 1 MiB."""
        ...


@runtime_checkable
class LogSource(Protocol):
    """What a source is too if its runs keep, beside their history, what the machine and the console told."""

    def system_metrics(self, run: Run) -> AsyncGenerator[HistoryRows]:
        """What was measured of the machine, as fine as the source gives it."""
        ...

    def console(self, run: Run) -> AsyncGenerator[ConsoleLines]:
        """What the run wrote to its console."""
        ...


@runtime_checkable
class LogWriter(Protocol):
    """What a run writer is too if it takes what a ``LogSource`` gives; called after ``write_history``."""

    async def write_logs(
        self, metrics: AsyncIterator[HistoryRows], console: AsyncIterator[ConsoleLines]
    ) -> None: ...


@runtime_checkable
class CollectionSource(Protocol):
    """What a source is too if its artifact versions are numbered in collections, whichever runs made them.

    They are then moved collection by collection after the runs, if the destination takes them so.
    """

    def collections(self, project: Project) -> AsyncGenerator[Collection]:
        """All collections of a project; it is enough if they tell how they can be found again."""
        ...

    async def collection(self, collection: Collection) -> tuple[Collection, Sequence[Version]]:
        """All that is said of a collection now, and its versions in the order of their numbers.

        Raises:
            NotFound: it was deleted meanwhile.
        """
        ...

    def entries(self, artifact: Artifact) -> AsyncGenerator[ArtifactEntry]:
        """As ``Source.entries``."""
        ...


@runtime_checkable
class PartlyCollected(Protocol):
    """What a ``CollectionSource`` is too if some artifact versions are in none of its collections.

    Those go with the runs that made them.
    """

    def uncollected(self, run: Run) -> AsyncGenerator[Artifact]:
        """As ``Source.artifacts``, without those that are in a collection."""
        ...


@runtime_checkable
class Referring(Protocol):
    """What a ``CollectionSource`` is too if rows and summaries of its runs speak of versions."""

    async def tell_unmoved(self) -> None:
        """Record of which versions they speak that are in no collection; called after all of those."""
        ...


@runtime_checkable
class CollectionDestination(Protocol):
    """What a destination is too if it takes versions by collections, and keeps their numbers."""

    async def open_collection(self, collection: Collection, namespace: Namespace) -> CollectionWriter:
        """Look at what is there of a collection, or make it; after ``prepare``.

        Raises:
            Conflict: something else has its name.
            NeedsRecreation: as ``Conflict``, and that may be deleted.
        """
        ...


@runtime_checkable
class CollectionRecreator(Protocol):
    """What a ``CollectionDestination`` is too if it may raise ``NeedsRecreation``."""

    async def delete_collection(self, collection: Collection, namespace: Namespace) -> None:
        """Delete what is there of a collection; only called after ``NeedsRecreation``."""
        ...


class CollectionWriter(Protocol):
    """One collection being written, one version after the other."""

    @property
    def in_order(self) -> bool:
        """Whether a version can only come after the run that made it and the versions before it."""
        ...

    async def write(self, version: Version, entries: AsyncIterator[ArtifactEntry], read: Reader) -> Receipt:
        """Make a version under its number, unless it is there; numbers that were left out stay free.

        Raises:
            Conflict: the number cannot be had.
            NeedsRecreation: the number cannot be had, unless the collection is made anew.
            IntegrityError: its content is not what the source says it is.
        """
        ...

    async def finish(self, collection: Collection, versions: Sequence[Version]) -> Receipt:
        """Make everything said of the collection, and of those versions that are there, as it is now.

        Also takes away whatever served only to keep the numbers.
        """
        ...


@runtime_checkable
class CollectionForeteller(Protocol):
    """What a ``CollectionDestination`` is too if it can tell beforehand what will not go as it should."""

    async def foretell_collection(
        self, collection: Collection, versions: Sequence[Version], namespace: Namespace
    ) -> Problem | None:
        """Why versions cannot have their numbers, or what would be deleted so that they can; reads only."""
        ...


@runtime_checkable
class LinkSource(Protocol):
    """What a ``CollectionSource`` is too if versions can be linked into collections that own none of them.

    Those are brought after all versions, if the destination takes them.
    """

    def portfolios(self, project: Project) -> AsyncGenerator[Collection]:
        """Those of a project. Those elsewhere that link to its versions are told with the versions."""
        ...

    async def portfolio(self, collection: Collection) -> Portfolio:
        """All that is said of a portfolio now, and all its links.

        Raises:
            NotFound: it was deleted meanwhile, or may not be seen.
        """
        ...


@runtime_checkable
class LinkDestination(Protocol):
    """What a ``CollectionDestination`` is too if it takes links."""

    async def write_portfolio(self, portfolio: Portfolio, *, whole: bool) -> Receipt:
        """Make the links, each under its number, and say of them what is said; takes no link away.

        Args:
            whole: False if only some versions were asked for, so that the others need not be there.

        Raises:
            NotFound: the registry that it belongs to is not there.
            Conflict: something else has its name.
            NotYet: a version is not there that may still come; the links after it were not made.
        """
        ...


@runtime_checkable
class LinkForeteller(Protocol):
    """What a ``LinkDestination`` is too if it can tell beforehand what links need besides versions."""

    async def foretell_portfolio(self, portfolio: Portfolio) -> Problem | None:
        """What there has to be for a portfolio besides itself, such as its registry; reads only."""
        ...


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A run that the source lists but cannot read, and why; it is reported and the rest goes on."""

    id: str
    error: Exception


class Destination(Protocol):
    """Something to apply records to. Every call is idempotent: applied twice, the effect is the same."""

    uri: str

    def open(self, context: Context) -> AbstractAsyncContextManager[SystemInfo]:
        """Connect and check, as ``Source.open``; also that the caller may write."""
        ...

    async def prepare(self, projects: Sequence[Project]) -> Mapping[Namespace, Namespace]:
        """Decide where each source project goes, and create what is missing.

        The user's remapping (``Context.remap``) comes first, then the destination's own rule.

        Raises:
            ConfigError: two projects would be merged by accident.
        """
        ...

    async def open_run(self, run: Run, namespace: Namespace) -> RunWriter:
        """Create the run or adopt the one that an earlier attempt made."""
        ...


@runtime_checkable
class RunHolder(Protocol):
    """What a destination is too if it can be asked which runs it has."""

    async def holds_run(self, run: Run, namespace: Namespace) -> bool:
        """Whether a run of this id is there, whoever brought it."""
        ...


@runtime_checkable
class RunRenamer(Protocol):
    """What a destination is too if runs may get other ids there, which it remembers in ``Context.ids``."""

    async def learn_ids(self) -> None:
        """Find out which ids other engines gave that share the transfer, now that all runs are there."""
        ...


@runtime_checkable
class Verifiable(Protocol):
    """What a destination is too if it can be read back and compared with what was brought to it."""

    def audit(self) -> Audit:
        """How it is read back, and what it declares of what it holds in another form; not yet connected."""
        ...


class RunWriter(Protocol):
    """One run being written.

    The writing methods may run at the same time, ``resume`` only before and ``finish`` only after all others.
    A history counts as acknowledged when ``finish`` returned, files and artifacts when their call did.
    """

    def resume(self, part: str, note: Json) -> None:
        """Take over what an earlier transfer wrote, which will not be written again.

        Args:
            part: ``history`` or ``files``.
            note: what its receipt said.
        """
        ...

    async def write_history(self, chunks: AsyncIterator[HistoryChunk]) -> Receipt: ...

    async def write_files(self, files: AsyncIterator[RunFile], read: Reader) -> Receipt: ...

    async def write_artifact(
        self, artifact: Artifact, entries: AsyncIterator[ArtifactEntry], read: Reader
    ) -> Receipt: ...

    async def finish(self, *, complete: bool = True) -> Receipt:
        """Give the run its final state.

        Args:
            complete: False if some part of the run failed and will be retried another time.
        """
        ...


# -- planning: what a side may offer besides ------------------------------------------------------


@runtime_checkable
class Measuring(Protocol):
    """A source that can tell how long histories are without reading them."""

    async def history_sizes(self, runs: Sequence[Run]) -> Mapping[str, HistorySize]:
        """By run id; a run that is left out has no history."""
        ...


@runtime_checkable
class Objecting(Protocol):
    """A source that can tell before anything is moved what of it could not be moved as it was asked to."""

    async def objections(
        self, projects: Sequence[Project], selection: Selection, *, artifacts: bool
    ) -> Sequence[EngineError]:
        """Used inside ``open``.

        Args:
            artifacts: whether they are moved, too.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Where source projects would go.

    Attributes:
        targets: as ``Destination.prepare`` will return them.
        missing: those of the targets that have to be created.
        errors: why projects cannot be written to, or cannot go where they are sent.
        warnings: for example names that have to change.
        first_id: under which id a run would be written to a place; None if another one is found when that
            is taken.
    """

    targets: Mapping[Namespace, Namespace] = field(default_factory=dict)
    missing: frozenset[Namespace] = frozenset()
    errors: tuple[EngineError, ...] = ()
    warnings: tuple[Problem, ...] = ()
    first_id: Callable[[Run, Namespace], str] | None = None


@runtime_checkable
class Foretelling(Protocol):
    """A destination that can tell what a transfer would be like; nothing is written. Used inside ``open``."""

    async def survey(self, projects: Sequence[Project]) -> Survey:
        """Look at the places that ``prepare`` will prepare."""
        ...

    def rehearse(self, run: Run, namespace: Namespace) -> RunRehearsal:
        """As ``open_run``, after ``survey``; what would change shape is recorded as a loss."""
        ...


class RunRehearsal(Protocol):
    """One run, as if it were written. Only what is told to it counts.

    Attributes:
        requests: what the run takes so far, by kind.
        spool: bytes of temporary data that one part of it needs at most.
    """

    requests: Counter[str]
    spool: int

    def history(self, size: HistorySize) -> None: ...

    async def files(self, files: AsyncIterator[RunFile]) -> None: ...

    async def artifact(self, artifact: Artifact, entries: AsyncIterator[ArtifactEntry]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemOptions:
    """What a caller can say to a system beyond its URI; each system reads what concerns it.

    Attributes:
        api_key: credential of this side; None means the system's own way of finding one.
        parse_params: read MLflow params as numbers, bools and nulls where that is reversible.
        artifact_roots: prefixes of artifact URIs to replace, for stores that were moved.
        ids: ``keep``, ``suffix`` or ``new``: what becomes of the ids of runs; see ``docs/ledger.md``.
        experiments_as: ``project`` or ``group``: what an MLflow experiment becomes in W&B; None: by the URI.
        recreate: delete a collection of artifact versions whose numbers cannot be kept otherwise.
        materialise: fetch what entries of artifacts refer to, and bring it as files.
    """

    api_key: str | None = field(default=None, repr=False)
    parse_params: bool = False
    artifact_roots: Mapping[str, str] = field(default_factory=dict)
    experiments_as: str | None = None
    ids: str = "keep"
    recreate: bool = False
    materialise: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A tracker that the engine can talk to; what an ``engine.systems`` entry point names."""

    source: Callable[[str, SystemOptions], Source] | None = None
    destination: Callable[[str, SystemOptions], Destination] | None = None


def _system(uri: str) -> tuple[System, str]:
    scheme, colon, rest = uri.partition(":")
    known = {point.name: point for point in entry_points(group="engine.systems")}
    if not colon or scheme not in known:
        raise ConfigError(
            f"{uri!r} names no known system",
            remedy=f"start it with one of {', '.join(f'{name}:' for name in sorted(known))}",
        )
    system = known[scheme].load()
    assert isinstance(system, System)
    return system, rest


def open_source(uri: str, options: SystemOptions | None = None) -> Source:
    """The source that a URI names, not yet connected.

    Raises:
        ConfigError: the URI is malformed or its system cannot be read from.
    """
    system, rest = _system(uri)
    if system.source is None:
        raise ConfigError(f"{uri!r} cannot be a source")
    return system.source(rest, options or SystemOptions())


def open_destination(uri: str, options: SystemOptions | None = None) -> Destination:
    """The destination that a URI names, not yet connected.

    Raises:
        ConfigError: the URI is malformed or its system cannot be written to.
    """
    system, rest = _system(uri)
    if system.destination is None:
        raise ConfigError(f"{uri!r} cannot be a destination")
    return system.destination(rest, options or SystemOptions())
