"""An archive to read from: what was put into it, exactly."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from anyio.to_thread import run_sync

from engine.archive import points, rows, sizes
from engine.archive.blobs import Blobs
from engine.archive.codec import record_of
from engine.archive.collection_reader import CollectionReader
from engine.archive.contents import Contents
from engine.archive.filters import Filter
from engine.archive.keeping import DAMAGE, listed_records
from engine.archive.layout import COLLECTION, PORTFOLIO, Layout, RunPlace, disk_errors
from engine.archive.places import root_of, server_of
from engine.archive.portfolios import kept_portfolio
from engine.archive.reports import kept
from engine.errors import ConfigError, Side
from engine.fingerprints import fingerprint
from engine.protocols import SystemOptions, Unreadable
from engine.records import (
    Artifact,
    ArtifactEntry,
    Blob,
    Collection,
    ConsoleLine,
    ConsoleLines,
    HistoryChunk,
    HistoryRows,
    HistorySize,
    Json,
    Portfolio,
    Project,
    Run,
    RunFile,
    Selection,
    SystemInfo,
    Version,
)
from engine.remapping.rules import Remapping, Rules
from engine.reports import Sweep, View
from engine.selection import Chosen
from engine.transfer.context import Context
from engine.wandb.reading import renaming
from engine.wandb.runs.replica import is_replica

T = TypeVar("T")

_ARTIFACT_NAME: Final = re.compile(r"[a-z0-9_-]+\.json")


@dataclass(frozen=True, slots=True)
class Located:
    """Where the rest of a run is."""

    place: RunPlace
    parts: Mapping[str, Json]
    artifacts: Mapping[str, str]


class ArchiveSource:
    """Everything in an archive.

    Args:
        rest: the path after ``archive:``.
        side: whose errors these are; a destination is read back like a source.
    """

    def __init__(
        self,
        rest: str,
        options: SystemOptions | None = None,  # noqa: ARG002 - none of them concerns an archive
        *,
        side: Side = Side.SOURCE,
    ) -> None:
        self._layout = Layout(root_of(rest), side)
        self._blobs = Blobs(self._layout)
        self._contents = Contents(self._layout, self._blobs)
        self.uri = f"archive:{rest}"
        self._collections: CollectionReader

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:  # noqa: ARG002
        with disk_errors(self._layout.side, self.uri):
            facts = await run_sync(self._layout.facts)
        if facts is None:
            raise ConfigError(
                "there is no archive here",
                side=self._layout.side,
                subject=str(self._layout.root),
                remedy="engine export SOURCE --out DIR makes one",
            )
        self._collections = CollectionReader(self._layout)
        origins = facts.get("origins") or [{}]
        yield SystemInfo(
            uri=self.uri,
            product="archive",
            version=str(facts["version"]),
            server=server_of(self._layout.root),
            origin=origins[-1].get("uri"),
            origin_server=origins[-1].get("server"),
        )

    # -- runs ------------------------------------------------------------------------------------

    async def projects(self, selection: Selection) -> AsyncGenerator[Project]:
        """The projects that the selection names, by name.

        Raises:
            ConfigError: a name matches nothing, or the filter is none.
        """
        Filter.of(selection.filter)
        chosen = Chosen(selection.projects)
        everything = await run_sync(self._projects)
        found = [each for each in everything if selection.include_deleted or not each.deleted]
        chosen.check(found, [each for each in everything if each.deleted])
        for project in found:
            if chosen.takes(project):
                yield project

    def _projects(self) -> list[Project]:
        found = []
        for path in (self._layout.root / "projects").glob("*/project.json"):
            try:
                found.append(record_of(Project, json.loads(path.read_bytes())))
            except DAMAGE as error:
                raise self._layout.damaged(path, error) from error
        return sorted(found, key=lambda project: project.namespace)

    async def runs(self, project: Project, selection: Selection) -> AsyncGenerator[Run | Unreadable]:
        """The runs of a project, oldest first; ``selection.filter`` is JSON in the manner of MongoDB."""
        wanted = Filter.of(selection.filter)
        left = selection.limit
        for path in await run_sync(self._records, self._layout.project(project.namespace) / "runs"):
            run = await run_sync(self._run, path, project)
            if isinstance(run, Run):
                if run.deleted and not selection.include_deleted:
                    continue
                if selection.since is not None and (run.started_at or 0) < selection.since:
                    continue
                if not (wanted.takes(run) and selection.takes(run)):
                    continue
            if left is not None and left <= 0:
                return
            left = None if left is None else left - 1
            yield run

    def _records(self, directory: Path) -> list[Path]:
        """In the order of their beginning; only that is held of each."""
        found: list[tuple[int, str, Path]] = []
        for path in directory.glob("*.json"):
            try:
                run = json.loads(path.read_bytes())["run"]
                found.append((run["started_at"] or 0, run["id"], path))
            except DAMAGE:  # told when it is its turn
                found.append((0, "", path))
        return [path for *_, path in sorted(found)]

    def _run(self, path: Path, project: Project) -> Run | Unreadable:
        try:
            content = path.read_bytes()
            record = json.loads(content)
            run = record_of(Run, record["run"])
            located = Located(
                self._layout.run(project.namespace, run.id), record["parts"], record["artifacts"]
            )
        except (OSError, *DAMAGE) as error:
            return Unreadable(path.stem, self._layout.damaged(path, error))
        return replace(
            run,
            namespace=project.namespace,
            locator=located,
            fingerprint=fingerprint(record["run"], record["parts"], record["artifacts"]),
        )

    def renamed(self, run: Run, config: Mapping[str, str], metrics: Rules) -> Run:
        """See ``engine.remapping.source.Renaming``: a run that was W&B's is one still."""
        return renaming.renamed(run, config, metrics) if is_replica(run) else run

    def renamed_view(self, view: View, remapping: Remapping) -> View:
        return renaming.renamed_view(view, remapping)

    def renamed_reference(self, ref: str, remapping: Remapping) -> str:
        return renaming.renamed_reference(ref, remapping)

    # -- tables ----------------------------------------------------------------------------------

    async def history(self, run: Run) -> AsyncGenerator[HistoryChunk]:
        """Every point or row, after the file was checked."""
        for part, reader in (("history", rows.read_rows), ("points", points.read_points)):
            async with aclosing(self._chunks(run, part, reader)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def history_sizes(self, runs: Sequence[Run]) -> Mapping[str, HistorySize]:
        """As they were counted; see ``engine.protocols.Measuring``."""
        found: dict[str, HistorySize] = {}
        for run in runs:
            located = _located(run)
            for part, size_of in (("history", sizes.size_of_rows), ("points", sizes.size_of_points)):
                if (table := located.parts.get(part)) is not None:
                    with disk_errors(self._layout.side, f"{part} of run {run.id}"):
                        path = await run_sync(
                            self._layout.checked, located.place.table(part), table["sha256"]
                        )
                        found[run.id] = await run_sync(size_of, path, table)
        return found

    async def system_metrics(self, run: Run) -> AsyncGenerator[HistoryRows]:
        async with aclosing(self._chunks(run, "system-metrics", rows.read_rows)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def console(self, run: Run) -> AsyncGenerator[ConsoleLines]:
        async with aclosing(self._chunks(run, "console", rows.read_rows)) as chunks:
            async for chunk in chunks:
                lines = [ConsoleLine(**{"text": "", **row}) for row in chunk.rows]
                for start in range(0, len(lines), ConsoleLines.CHUNK_LINES):
                    yield ConsoleLines(lines=lines[start : start + ConsoleLines.CHUNK_LINES])

    async def _chunks(self, run: Run, part: str, reader: Any) -> AsyncGenerator[Any]:
        located = _located(run)
        table = located.parts.get(part)
        if table is None:
            return
        with disk_errors(self._layout.side, f"{part} of run {run.id}"):
            path = await run_sync(self._layout.checked, located.place.table(part), table["sha256"])
            chunks = reader(path)
            try:
                while (chunk := await run_sync(next, chunks, None)) is not None:
                    yield chunk
            finally:
                chunks.close()

    # -- bytes -----------------------------------------------------------------------------------

    async def files(self, run: Run) -> AsyncGenerator[RunFile]:
        listed = _located(run).parts.get("files")
        if listed is not None:
            async with aclosing(self._contents.lines(listed["sha256"])) as lines:
                async for line in lines:
                    yield replace(record_of(RunFile, line["file"]), locator=line["sha256"])

    async def artifacts(self, run: Run) -> AsyncGenerator[Artifact]:
        """All that a run logged, whether it is kept with the run or in a collection."""
        async with aclosing(self.uncollected(run)) as uncollected:
            async for artifact in uncollected:
                yield artifact
        with disk_errors(self._layout.side, f"artifacts of run {run.id}"):
            found = await run_sync(self._collections.made_by, run)
        for artifact in found:
            yield artifact

    async def uncollected(self, run: Run) -> AsyncGenerator[Artifact]:
        """What is kept with the run alone: of a source without collections, or of an archive of version 1."""
        with disk_errors(self._layout.side, f"artifacts of run {run.id}"):
            found = await run_sync(self._with_run, run)
        for artifact in found:
            yield artifact

    def _with_run(self, run: Run) -> list[Artifact]:
        located = _located(run)
        found = []
        for name, digest in located.artifacts.items():
            if not _ARTIFACT_NAME.fullmatch(name):
                error = ValueError(f"{name!r} is no name of an artifact")
                raise self._layout.damaged(located.place.record, error)
            path = self._layout.checked(located.place.artifacts / name, digest)
            record = json.loads(path.read_bytes())
            artifact = record_of(Artifact, record["artifact"])
            if not self._collections.holds(artifact, run):
                found.append(replace(artifact, locator=record["entries"]["sha256"]))
        # Versions of a collection in their order, as they have to be written.
        return sorted(found, key=lambda each: (each.type, each.name, each.version or 0))

    # -- what belongs to no run ------------------------------------------------------------------

    async def collections(self, project: Project) -> AsyncGenerator[Collection]:
        """All collections of a project.

        Raises:
            IntegrityError: after all others, if some are damaged.
        """
        async with aclosing(self._listed(project, COLLECTION)) as collections:
            async for collection in collections:
                yield collection

    async def portfolios(self, project: Project) -> AsyncGenerator[Collection]:
        """Those that belong to a project; as ``collections``."""
        async with aclosing(self._listed(project, PORTFOLIO)) as portfolios:
            async for portfolio in portfolios:
                yield portfolio

    async def _listed(self, project: Project, kind: str) -> AsyncGenerator[Collection]:
        with disk_errors(self._layout.side, f"{kind}s of {project.namespace}"):
            found, error = await run_sync(listed_records, self._layout, project.namespace, kind)
        for collection in found:
            yield collection
        if error is not None:
            raise error

    async def collection(self, collection: Collection) -> tuple[Collection, Sequence[Version]]:
        """What the archive says of a collection, and its versions in their order.

        Raises:
            NotFound: it is not there.
            IntegrityError: its record is damaged.
        """
        with disk_errors(self._layout.side, f"artifact {collection}"):
            return await run_sync(self._collections.read, collection)

    async def portfolio(self, collection: Collection) -> Portfolio:
        """A portfolio with all its links.

        Raises:
            NotFound: it is not there.
            IntegrityError: its record is damaged.
        """
        with disk_errors(self._layout.side, f"portfolio {collection}"):
            return await run_sync(kept_portfolio, self._layout, collection)

    async def sweeps(self, project: Project) -> AsyncGenerator[Sweep]:
        async with aclosing(kept(self._layout, project.namespace, Sweep)) as sweeps:
            async for sweep in sweeps:
                yield sweep

    async def views(self, project: Project) -> AsyncGenerator[View]:
        async with aclosing(kept(self._layout, project.namespace, View)) as views:
            async for view in views:
                yield view

    # -- bytes of artifacts ----------------------------------------------------------------------

    async def entries(self, artifact: Artifact) -> AsyncGenerator[ArtifactEntry]:
        async with aclosing(self._contents.lines(artifact.locator)) as lines:
            async for line in lines:
                yield replace(record_of(ArtifactEntry, line["file"]), locator=line["sha256"] or "")

    async def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        async with aclosing(self._blobs.read(blob.locator, offset)) as pieces:
            async for piece in pieces:
                yield piece


def _located(run: Run) -> Located:
    assert isinstance(run.locator, Located)
    return run.locator
