"""A source whose records have their new names already.

It stands in the place of the source that it wraps, so that destinations, plans and verifications need not
know of it. Ids and namespaces of runs stay as they are: where a run goes is ``Context.remap``.

Whatever gets another name is declared under ``…_renamed``. Things that would get the same name are found
before anything is moved (``engine.remapping.collisions``); two of one run that came since, or that only its
history tells, are a ``Conflict``, and the run is not moved.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import pyarrow as pa

from engine.errors import ConfigError, Conflict, EngineError, Side
from engine.fingerprints import fingerprint
from engine.protocols import (
    CollectionSource,
    LinkSource,
    Measuring,
    PartlyCollected,
    Source,
    Unreadable,
)
from engine.records import (
    Artifact,
    ArtifactEntry,
    Blob,
    Collection,
    HistoryChunk,
    HistoryRows,
    HistorySize,
    Link,
    MetricPoints,
    Namespace,
    Portfolio,
    Project,
    Run,
    RunFile,
    Selection,
    SystemInfo,
    Version,
)
from engine.remapping.collisions import find_collisions
from engine.remapping.rules import (
    ALIASES,
    ARTIFACTS,
    CONFIG,
    METRICS,
    REFERENCES,
    RENAMED,
    TAGS,
    USERS,
    Remapping,
    Rules,
)
from engine.reports import ReportSource, Sweep, View
from engine.transfer.context import Context

T = TypeVar("T")


@runtime_checkable
class Renaming(Protocol):
    """What a source is too if ``Run.extra`` or views name config keys and metrics as well."""

    def renamed(self, run: Run, config: Mapping[str, str], metrics: Rules) -> Run:
        """A run with the new names there.

        Args:
            config: those keys of the config that got another name.
        """
        ...

    def renamed_view(self, view: View, remapping: Remapping) -> View: ...

    def renamed_sweep(self, sweep: Sweep, remapping: Remapping) -> Sweep:
        """
        Raises:
            Conflict: two parameters would get the same name.
        """
        ...

    def renamed_reference(self, ref: str, remapping: Remapping) -> str:
        """The URI of a reference that is about another artifact, by the name that this one gets."""
        ...


def remapped(source: Source, remapping: Remapping) -> Source:
    """The source with other names; itself if there are none to give."""
    return RemappedSource(source, remapping) if remapping.sections else source


@dataclass(frozen=True, slots=True)
class _Original:
    """The locator of a run with new names: what the source knows it as."""

    run: Run


def original(record: Any) -> Any:
    """A run as its source gave it; anything else as it is."""
    return record.locator.run if isinstance(record, Run) and isinstance(record.locator, _Original) else record


class RemappedSource:
    """A source with other names; whatever else the wrapped source can do, this one can."""

    def __init__(self, source: Source, remapping: Remapping) -> None:
        self._source = source
        self._rules = remapping
        self.uri = source.uri
        self._context: Context
        self._artifact_names: dict[tuple[str, str], str] = {}
        for name in dir(source):
            if not name.startswith("_") and not hasattr(type(self), name) and name not in self.__dict__:
                self._pass_on(name)
        if isinstance(source, Measuring):
            # On the instance, as not every source can: a protocol is looked for there as well.
            self.history_sizes = self._history_sizes
        if isinstance(source, ReportSource):
            self.sweeps, self.views = self._sweeps, self._views
        if isinstance(source, CollectionSource):
            self.collections, self.collection = self._collections, self._collection
        if isinstance(source, LinkSource):
            self.portfolios, self.portfolio = self._portfolios, self._portfolio
        if isinstance(source, PartlyCollected):
            self.uncollected = self._uncollected

    def _pass_on(self, name: str) -> None:
        """Offer what the source offers besides; of runs it is told the originals."""
        member = getattr(type(self._source), name, None)
        if not callable(member):
            return
        method = getattr(self._source, name)

        def passed_on(*given: Any, **named: Any) -> Any:
            return method(*map(original, given), **{key: original(value) for key, value in named.items()})

        setattr(self, name, passed_on)

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        self._context = context
        async with self._source.open(context) as info:
            yield info

    # -- projects ----------------------------------------------------------------------------------

    async def objections(
        self, projects: Sequence[Project], selection: Selection, *, artifacts: bool
    ) -> Sequence[EngineError]:
        """What the mapping would make one; see ``engine.protocols.Objecting``."""
        errors = await find_collisions(
            self._source, self._rules, projects, selection, self._context.remap, artifacts=artifacts
        )
        for project in projects:
            errors += await self._colliding_sweeps(project)
        return errors

    async def _colliding_sweeps(self, project: Project) -> list[EngineError]:
        """Those that cannot have their new names."""
        source = self._source
        if not (self._rules[CONFIG] and isinstance(source, ReportSource) and isinstance(source, Renaming)):
            return []
        errors: list[EngineError] = []
        async with aclosing(source.sweeps(project)) as sweeps:
            async for sweep in sweeps:
                try:
                    source.renamed_sweep(sweep, self._rules)
                except Conflict as error:
                    where, remedy = error.subject, error.remedy
                    errors.append(ConfigError(error.message, side=error.side, subject=where, remedy=remedy))
        return errors

    async def projects(self, selection: Selection) -> AsyncGenerator[Project]:
        async with aclosing(self._source.projects(selection)) as projects:
            async for project in projects:
                yield project

    # -- runs --------------------------------------------------------------------------------------

    async def runs(self, project: Project, selection: Selection) -> AsyncGenerator[Run | Unreadable]:
        async with aclosing(self._source.runs(project, selection)) as runs:
            async for run in runs:
                yield run if isinstance(run, Unreadable) else self._run(run)

    def _run(self, run: Run) -> Run | Unreadable:
        subject = f"run {run.id}"
        if not self._rules.renames:
            return run
        try:
            config = self._new_names(CONFIG, run.config, subject)
            labels = self._new_names(TAGS, run.labels, subject)
            metrics = self._new_names(METRICS, run.summary or (), subject)
        except Conflict as conflict:
            return Unreadable(run.id, conflict)
        user = self._of(USERS, run.user, subject)
        summary = None if run.summary is None else _with_keys(run.summary, metrics)
        changed = replace(
            run,
            config=_with_keys(run.config, config),
            labels=_with_keys(run.labels, labels),
            summary=summary,
            tags=self._several(TAGS, run.tags, subject),
            user=user,
            # An MLflow run is shown under its user in this wording.
            job_type=f"User {user}" if run.user and run.job_type == f"User {run.user}" else run.job_type,
            locator=_Original(run),
            fingerprint=run.fingerprint and fingerprint(run.fingerprint, self._rules.fingerprint),
        )
        if isinstance(self._source, Renaming):
            return self._source.renamed(changed, config, self._rules[METRICS])
        return changed

    def _new_names(self, section: str, names: Iterable[str], subject: str) -> dict[str, str]:
        """New names of those that get one, declared.

        Raises:
            Conflict: two would get the same.
        """
        rules, kept = self._rules[section], set(names)
        if not rules:
            return {}
        renamed: dict[str, str] = {}
        taken: dict[str, str] = {}
        for name in sorted(kept):
            new = rules.of(name)
            if (other := taken.setdefault(new, name)) != name:
                raise Conflict(
                    f"{other!r} and {name!r} ({section}) would both become {new!r}",
                    side=Side.SOURCE,
                    subject=subject,
                    remedy="choose another name in the mapping; see engine map explain",
                )
            if new != name:
                renamed[name] = new
                self._declare(section, subject, name, new)
        return renamed

    def _of(self, section: str, name: str | None, subject: str) -> str | None:
        new = name if name is None else self._rules[section].of(name)
        if name is not None and new is not None and new != name:
            self._declare(section, subject, name, new)
        return new

    def _several(self, section: str, names: Sequence[str], subject: str) -> tuple[str, ...]:
        """New names, each once, in their order."""
        rules = self._rules[section]
        if not rules:
            return tuple(names)
        return tuple(dict.fromkeys(self._of(section, name, subject) or name for name in names))

    def _declare(self, section: str, subject: str, name: str, new: str) -> None:
        self._context.lose(RENAMED[section], subject, f"{name!r} became {new!r}, as the mapping asks")

    async def _sweeps(self, project: Project) -> AsyncGenerator[Sweep]:
        assert isinstance(self._source, ReportSource)
        async with aclosing(self._source.sweeps(project)) as sweeps:
            async for sweep in sweeps:
                if self._rules.renames and isinstance(self._source, Renaming):
                    yield self._source.renamed_sweep(sweep, self._rules)
                else:
                    yield sweep

    async def _views(self, project: Project) -> AsyncGenerator[View]:
        assert isinstance(self._source, ReportSource)
        async with aclosing(self._source.views(project)) as views:
            async for view in views:
                if self._rules.renames and isinstance(self._source, Renaming):
                    yield self._source.renamed_view(view, self._rules)
                else:
                    yield view

    # -- histories ---------------------------------------------------------------------------------

    async def history(self, run: Run) -> AsyncGenerator[HistoryChunk]:
        """As the source, with other keys.

        Raises:
            Conflict: two keys would become one.
        """
        keys = _Keys(self._rules[METRICS], f"run {run.id}")
        async with aclosing(self._source.history(original(run))) as chunks:
            async for chunk in chunks:
                yield keys.renamed(chunk) if keys.rules else chunk

    async def _history_sizes(self, runs: Sequence[Run]) -> Mapping[str, HistorySize]:
        assert isinstance(self._source, Measuring)
        sizes = await self._source.history_sizes([original(run) for run in runs])
        rules = self._rules[METRICS]
        return {run_id: replace(size, keys=tuple(map(rules.of, size.keys))) for run_id, size in sizes.items()}

    # -- files and artifacts -----------------------------------------------------------------------

    async def files(self, run: Run) -> AsyncGenerator[RunFile]:
        async with aclosing(self._source.files(original(run))) as files:
            async for file in files:
                yield file

    async def artifacts(self, run: Run) -> AsyncGenerator[Artifact]:
        """As the source, with other names.

        Raises:
            Conflict: two collections would become one.
        """
        async with aclosing(self._source.artifacts(original(run))) as artifacts:
            async for artifact in artifacts:
                yield self.artifact(artifact)

    async def _uncollected(self, run: Run) -> AsyncGenerator[Artifact]:
        assert isinstance(self._source, PartlyCollected)
        async with aclosing(self._source.uncollected(original(run))) as artifacts:
            async for artifact in artifacts:
                yield self.artifact(artifact)

    def artifact(self, artifact: Artifact) -> Artifact:
        """A version with its new names.

        Raises:
            Conflict: another collection has that name already.
        """
        # So that the provenance of the run tells of it.
        subject = f"run {artifact.run_id}" if artifact.run_id else f"artifact {artifact.name}"
        return replace(
            artifact,
            name=self._artifact_name(artifact.namespace, artifact.name, subject),
            aliases=self._several(ALIASES, artifact.aliases, subject),
            tags=self._several(TAGS, artifact.tags, subject),
            # References without a checksum count by their address, which the rules change.
            digest=None if self._rules[REFERENCES] else artifact.digest,
        )

    def _artifact_name(self, namespace: Namespace, old: str, subject: str) -> str:
        name = self._of(ARTIFACTS, old, subject) or old
        if name != old or name in self._rules[ARTIFACTS].targets:
            other = self._artifact_names.setdefault((namespace.path, name), old)
            if other != old:
                raise Conflict(
                    f"the artifacts {other!r} and {old!r} would both become {name!r}",
                    side=Side.SOURCE,
                    subject=f"artifact {old}",
                    remedy="choose another name in the mapping; see engine map explain",
                )
        return name

    async def _collections(self, project: Project) -> AsyncGenerator[Collection]:
        assert isinstance(self._source, CollectionSource)
        async with aclosing(self._source.collections(project)) as collections:
            async for collection in collections:
                yield self._named(collection)

    def _named(self, collection: Collection) -> Collection:
        subject = f"artifact {collection.name}"
        return replace(
            collection,
            name=self._artifact_name(collection.namespace, collection.name, subject),
            tags=self._several(TAGS, collection.tags, subject),
        )

    def _as_it_was(self, collection: Collection) -> Collection:
        old = self._artifact_names.get((collection.namespace.path, collection.name), collection.name)
        return replace(collection, name=old)

    async def _collection(self, collection: Collection) -> tuple[Collection, Sequence[Version]]:
        assert isinstance(self._source, CollectionSource)
        found, versions = await self._source.collection(self._as_it_was(collection))
        return self._named(found), tuple(
            replace(
                version,
                artifact=self.artifact(version.artifact),
                portfolios=tuple(map(self._named, version.portfolios)),
            )
            for version in versions
        )

    async def _portfolios(self, project: Project) -> AsyncGenerator[Collection]:
        assert isinstance(self._source, LinkSource)
        async with aclosing(self._source.portfolios(project)) as portfolios:
            async for portfolio in portfolios:
                yield self._named(portfolio)

    async def _portfolio(self, collection: Collection) -> Portfolio:
        assert isinstance(self._source, LinkSource)
        found = await self._source.portfolio(self._as_it_was(collection))
        return Portfolio(
            collection=self._named(found.collection),
            links=tuple(map(self._link, found.links)),
            registry=found.registry,
        )

    def _link(self, link: Link) -> Link:
        target, subject = link.target, f"artifact {link.target.name}"
        name = self._artifact_name(target.namespace, target.name, subject)
        aliases = self._several(ALIASES, link.aliases, subject)
        return replace(link, target=replace(target, name=name), aliases=aliases)

    async def entries(self, artifact: Artifact) -> AsyncGenerator[ArtifactEntry]:
        rules, subject = self._rules[REFERENCES], f"artifact {artifact.name}"
        async with aclosing(self._source.entries(artifact)) as entries:
            async for entry in entries:
                if entry.ref is None or (ref := self._of(REFERENCES, entry.ref, subject)) == entry.ref:
                    yield self._following(entry)
                    continue
                # What has no checksum has its own address in that place.
                digest = None if entry.digest is None else rules.of(entry.digest)
                yield replace(entry, ref=ref, digest=digest)

    def _following(self, entry: ArtifactEntry) -> ArtifactEntry:
        """An entry that refers to another artifact by the name that this one gets."""
        if entry.ref is None or not isinstance(self._source, Renaming):
            return entry
        return replace(entry, ref=self._source.renamed_reference(entry.ref, self._rules))

    async def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        async with aclosing(self._source.read(blob, offset)) as pieces:
            async for piece in pieces:
                yield piece


class _Keys:
    """New keys of one history.

    Raises:
        Conflict: from ``renamed``, if two keys would become one.
    """

    def __init__(self, rules: Rules, subject: str) -> None:
        self.rules = rules
        self._subject = subject
        self._new: dict[str, str] = {}
        self._taken: dict[str, str] = {}

    def _of(self, key: str) -> str:
        if key in self._new:
            return self._new[key]
        new = self._new[key] = self.rules.of(key)
        if (other := self._taken.setdefault(new, key)) != key:
            raise Conflict(
                f"the metrics {other!r} and {key!r} would both become {new!r}",
                side=Side.SOURCE,
                subject=self._subject,
                remedy="choose another name in the mapping; see engine map explain",
            )
        return new

    def renamed(self, chunk: HistoryChunk) -> HistoryChunk:
        if isinstance(chunk, HistoryRows):
            rows = [{self._of(key): value for key, value in row.items()} for row in chunk.rows]
            return replace(chunk, rows=rows)
        column = chunk.batch.column("key")
        names = pa.array([self._of(key) for key in column.dictionary.to_pylist()], pa.string())
        renamed = pa.DictionaryArray.from_arrays(column.indices, names)
        columns = [
            renamed if name == "key" else chunk.batch.column(name) for name in chunk.batch.schema.names
        ]
        return MetricPoints(batch=pa.RecordBatch.from_arrays(columns, schema=chunk.batch.schema))


def _with_keys(values: Mapping[str, T], names: Mapping[str, str]) -> Mapping[str, T]:
    return {names.get(key, key): value for key, value in values.items()} if names else values
