"""A W&B server to read from."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from typing import Final

import orjson

from engine.errors import ConfigError, NotFound, Side
from engine.protocols import SystemOptions, Unreadable
from engine.records import (
    Artifact,
    ArtifactEntry,
    Blob,
    Collection,
    ConsoleLines,
    HistoryChunk,
    HistoryRows,
    HistorySize,
    Namespace,
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
from engine.wandb import uri
from engine.wandb.client import Identity, WandbClient, connect
from engine.wandb.reading import artifacts, files, materialising, renaming, reports
from engine.wandb.reading.client_ids import ClientIds
from engine.wandb.reading.collections import SEQUENCE, list_collections, read_collection
from engine.wandb.reading.history import read_history
from engine.wandb.reading.logs import read_console, read_system_metrics
from engine.wandb.reading.materialising import Materialiser
from engine.wandb.reading.portfolios import list_portfolios, read_portfolio
from engine.wandb.reading.projects import find_project, list_projects
from engine.wandb.reading.registries import Registries
from engine.wandb.reading.runs import list_runs, mongo_filter, read_run
from engine.wandb.reading.sizes import size_of
from engine.wandb.reading.uses import with_uses

_READERS: Final = {
    files.KIND: files.read_file,
    files.ADDRESS: files.read_addressed,
    artifacts.KIND: artifacts.read_entry,
}
"""By the kind of a locator."""


class WandbSource:
    """Everything in the projects of an entity, over W&B's own protocol, without its SDK.

    Args:
        rest: the URI after ``wandb:``.
        side: whose errors these are; a destination is read back like a source.

    Attributes:
        tells_uses: whether the server was never found not to tell names of uses.
    """

    def __init__(self, rest: str, options: SystemOptions | None = None, *, side: Side = Side.SOURCE) -> None:
        self._options = options or SystemOptions()
        self._side = side
        self._location = uri.parse(rest)
        self.uri = self._location.uri
        self._client: WandbClient
        self._context: Context
        self._identity: Identity
        self._client_ids: ClientIds
        self._registries: Registries
        self._materialiser: Materialiser | None = None
        self.tells_uses = True

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        key = self._options.api_key
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(
                connect(self._location.base_url, key, context, self._side)
            )
            if self._options.materialise:
                strangers = Materialiser.open(context, self._side)
                self._materialiser = await stack.enter_async_context(strangers)
            self._client, self._context = client, context
            self._client_ids = ClientIds(client, context)
            self._registries = Registries(client)
            self._identity = await client.identify()
            yield SystemInfo(
                uri=self.uri,
                product="W&B",
                identity=self._identity.username or self._identity.entity,
                server=f"wandb:{self._location.base_url}",
            )

    @property
    def identity(self) -> Identity:
        """Who reads; known while it is open."""
        return self._identity

    @property
    def client(self) -> WandbClient:
        """The connection; known while it is open."""
        return self._client

    @property
    def features(self) -> frozenset[str]:
        """What the server says it can do; known while it is open."""
        return self._client.features

    async def projects(self, selection: Selection) -> AsyncGenerator[Project]:
        """The projects that URI and selection name; all of the entity if they name none.

        Raises:
            ConfigError: a name matches nothing, or the run filter is no JSON object.
        """
        mongo_filter(selection)
        chosen = Chosen(selection.projects)
        if self._location.project:
            found = [await find_project(self._client, self._entity(), self._location.project)]
        else:
            # All at once: a wrong name must be found before the first project is on its way.
            found = await list_projects(self._client, self._identity, self._entity())
        chosen.check(found, ())
        for project in found:
            if chosen.takes(project):
                self._client_ids.projects.add(project.namespace)
                yield replace(project, registry=await self._registries.of(project.namespace))

    def _entity(self) -> str:
        entity = self._location.entity or self._identity.entity
        if not entity:
            raise ConfigError(
                "no entity is given, and this account has no default one",
                side=Side.SOURCE,
                remedy=f"write wandb:ENTITY with one of {', '.join(self._identity.entities)}",
            )
        return entity

    async def runs(self, project: Project, selection: Selection) -> AsyncGenerator[Run | Unreadable]:
        """The runs of a project; ``selection.filter`` is JSON in the manner of MongoDB.

        ``selection.order`` is as in ``wandb.Api().runs(order=…)``: ``-summary_metrics.loss``.

        A page of the list holds all there is of a run but its streams, files and artifacts.
        """
        left = selection.limit
        self._client_ids.projects.add(project.namespace)
        async with aclosing(list_runs(self._client, self._context, project.namespace, selection)) as runs:
            async for run in runs:
                if isinstance(run, Run) and not selection.takes(run):
                    continue
                if left is not None and left <= 0:
                    return
                left = None if left is None else left - 1
                yield run if isinstance(run, Unreadable) else self._portable(run)

    def _portable(self, run: Run) -> Run:
        """A run that speaks of artifacts in a way that other servers can learn to understand."""
        if run.summary is None:
            return run
        return replace(run, summary=self._client_ids.portable(run.summary, run.namespace))

    async def run(self, namespace: Namespace, run_id: str) -> Run:
        """One run, in one request.

        Raises:
            NotFound: there is none of this id.
        """
        return self._portable(await read_run(self._client, namespace, run_id))

    def renamed(self, run: Run, config: Mapping[str, str], metrics: Rules) -> Run:
        """See ``engine.remapping.source.Renaming``."""
        return renaming.renamed(run, config, metrics)

    def renamed_view(self, view: View, remapping: Remapping) -> View:
        """See ``engine.remapping.source.Renaming``."""
        return renaming.renamed_view(view, remapping)

    def renamed_sweep(self, sweep: Sweep, remapping: Remapping) -> Sweep:
        """See ``engine.remapping.source.Renaming``."""
        return renaming.renamed_sweep(sweep, remapping)

    def renamed_reference(self, ref: str, remapping: Remapping) -> str:
        """See ``engine.remapping.source.Renaming``."""
        return renaming.renamed_reference(ref, remapping)

    async def history_sizes(self, runs: Sequence[Run]) -> Mapping[str, HistorySize]:
        return {run.id: size_of(run) for run in runs}

    async def history(self, run: Run) -> AsyncGenerator[HistoryChunk]:
        async with aclosing(read_history(self._client, self._context, run)) as chunks:
            async for chunk in chunks:
                rows = [self._client_ids.row(row, run.namespace) for row in chunk.rows]
                yield replace(chunk, rows=rows)
        if self._side is Side.SOURCE:  # what a copy speaks of is nothing to be moved
            await self._client_ids.remember(run.namespace)

    async def system_metrics(self, run: Run) -> AsyncGenerator[HistoryRows]:
        async with aclosing(read_system_metrics(self._client, self._context, run)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def console(self, run: Run) -> AsyncGenerator[ConsoleLines]:
        async with aclosing(read_console(self._client, self._context, run)) as parts:
            async for part in parts:
                yield part

    async def files(self, run: Run) -> AsyncGenerator[RunFile]:
        async with aclosing(files.list_files(self._client, self._context, run)) as found:
            async for file in found:
                yield file

    async def artifacts(self, run: Run) -> AsyncGenerator[Artifact]:
        """The versions that a run logged, without the server's own exports of histories."""
        async with aclosing(artifacts.list_artifacts(self._client, self._context, run)) as found:
            async for artifact in found:
                yield artifact

    async def collections(self, project: Project) -> AsyncGenerator[Collection]:
        """The sequences of a project; those that only link to versions are none."""
        async with aclosing(list_collections(self._client, project.namespace)) as found:
            async for collection in found:
                yield collection

    async def collection(self, collection: Collection) -> tuple[Collection, Sequence[Version]]:
        """What is said of a collection now, and its versions in their order.

        In a request for each 100 versions, and one for each 50 runs that used one of them.

        Raises:
            NotFound: it was deleted meanwhile.
        """
        found = await read_collection(self._client, collection.namespace, collection.name)
        if found is None:
            raise NotFound("it is not there any more", side=self._side, subject=f"artifact {collection}")
        named = await with_uses(self._client, found)
        if named is None:
            self.tells_uses = False
            detail = "this server does not tell under which names runs used it"
            self._context.lose("use_name_dropped", f"artifact {collection}", detail)
            named = found
        return await self._client_ids.tell(named.collection, tuple(named.versions.values()))

    async def portfolios(self, project: Project) -> AsyncGenerator[Collection]:
        """The collections of links of a project."""
        async with aclosing(list_portfolios(self._client, project.namespace)) as found:
            async for portfolio in found:
                yield portfolio

    async def portfolio(self, collection: Collection) -> Portfolio:
        """What is said of a collection of links and of its registry now, in a request for each 100 links.

        Raises:
            NotFound: it was deleted meanwhile, or may not be seen.
        """
        found = await read_portfolio(self._client, collection.namespace, collection.name)
        if found is None or found.kind == SEQUENCE:
            raise NotFound("it is not there any more", side=self._side, subject=f"portfolio {collection}")
        if found.repeated:
            detail = "links to versions that are linked under a later number, too, which has their aliases"
            self._context.lose("link_merged", f"portfolio {collection}", detail, found.repeated)
        return replace(found.portfolio, registry=await self._registries.of(collection.namespace))

    async def tell_unmoved(self) -> None:
        """See ``engine.protocols.Referring``."""
        await self._client_ids.tell_unmoved()

    async def sweeps(self, project: Project) -> AsyncGenerator[Sweep]:
        async with aclosing(reports.list_sweeps(self._client, project.namespace)) as nodes:
            async for node in nodes:
                yield reports.sweep_of(node, project.namespace)

    async def views(self, project: Project) -> AsyncGenerator[View]:
        """Reports, their drafts, and the views that somebody saved."""
        async with aclosing(reports.views_to_move(self._client, self._context, project.namespace)) as views:
            async for view in views:
                yield view

    async def entries(self, artifact: Artifact) -> AsyncGenerator[ArtifactEntry]:
        # Of a copy that is checked, what is wrong is found entry by entry.
        as_it_is = self._side is Side.DESTINATION
        async with aclosing(artifacts.list_entries(self._client, artifact, as_it_is=as_it_is)) as found:
            told = found
            if self._materialiser is not None:
                told = self._materialiser.entries(found, f"artifact {artifact.name}:v{artifact.version}")
            async with aclosing(told) as entries:
                async for entry in entries:
                    yield entry

    async def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        """The bytes of a file of a run, of an artifact or of a report."""
        kind = orjson.loads(blob.locator)[0]
        if kind == materialising.KIND:
            assert self._materialiser is not None
            read = self._materialiser.read(blob, offset)
        else:
            read = _READERS[kind](self._client, blob, offset)
        async with aclosing(read) as pieces:
            async for piece in pieces:
                yield piece
