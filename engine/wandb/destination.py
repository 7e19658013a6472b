"""A W&B server to write to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from engine.errors import AuthError, ConfigError, Conflict, EngineError, NotFound, Problem, Side
from engine.fanout import KeyedLocks, for_each
from engine.protocols import CollectionWriter, Reader, RunRehearsal, RunWriter, Survey, SystemOptions
from engine.records import (
    Collection,
    Json,
    Namespace,
    Portfolio,
    Project,
    Receipt,
    Registry,
    Run,
    RunRef,
    SystemInfo,
    Version,
)
from engine.reports import Sweep
from engine.transfer.context import Context
from engine.wandb import documents, uri
from engine.wandb.audit.audit import WandbAudit
from engine.wandb.client import WandbClient, connect
from engine.wandb.collections.numbers import foretell
from engine.wandb.collections.place import Place
from engine.wandb.collections.portfolios import PortfolioWriter
from engine.wandb.collections.registries import PortfolioPlaces, RegistryMaker
from engine.wandb.collections.version_ids import VersionIds
from engine.wandb.collections.writer import SequenceWriter, delete_sequence
from engine.wandb.digests import Multipart
from engine.wandb.mapping import RunMapping
from engine.wandb.names import artifact_name, artifact_type, portfolio_name, run_id
from engine.wandb.own_ids import OwnIds
from engine.wandb.placement import Placement, members
from engine.wandb.reading.registries import PREFIX
from engine.wandb.runs.ids import IdPolicy, Openings, RunIds
from engine.wandb.runs.rehearsal import WandbRunRehearsal
from engine.wandb.runs.replica import ReplicaMapping, is_replica
from engine.wandb.runs.sweeps import Sweeps
from engine.wandb.runs.writer import open_run
from engine.wandb.uploads.lanes import Lanes
from engine.wandb.uploads.uploader import Uploader
from engine.wandb.versions.artifacts import ArtifactWriter
from engine.wandb.views import files as report_files
from engine.wandb.views.files import ReportFiles
from engine.wandb.views.references import References, run_of_files
from engine.wandb.views.writer import WandbViewWriter

PREPARING = 8
"""Projects that are looked up or created at the same time."""

_CONSEQUENCES = {
    "ARTIFACT_TAGS": "artifact tags are not kept",
    "LARGE_FILENAMES": "artifacts with very long paths may be refused",
}


class WandbDestination:
    """Applies runs to a W&B server over its own protocol, without its SDK.

    Args:
        rest: the URI after ``wandb:``.
        multipart: when files go in parts.
    """

    def __init__(
        self, rest: str, options: SystemOptions | None = None, *, multipart: Multipart | None = None
    ) -> None:
        self._options = options or SystemOptions()
        self._location = uri.parse(rest)
        self.uri = self._location.uri
        if self._options.experiments_as not in (None, "project", "group"):
            raise ConfigError(
                f"experiments cannot become {self._options.experiments_as!r}", remedy="say project or group"
            )
        if self._options.experiments_as == "project" and self._location.project:
            raise ConfigError(
                f"{self.uri} names one project, so experiments cannot become projects",
                remedy="leave the project out of the URI, or make experiments groups",
            )
        self._rest = rest
        self._multipart = multipart or Multipart()
        self._id_policy = IdPolicy.of(self._options.ids)
        self._shared: set[Namespace] = set()
        self._surveyed: Survey | None = None
        self._client: WandbClient
        self._context: Context
        self._placement: Placement
        self._artifacts: ArtifactWriter
        self._openings: Openings
        self._sweeps: Sweeps
        self._portfolio_places: PortfolioPlaces
        self._registries: RegistryMaker
        self._own_ids: OwnIds

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        async with connect(self._location.base_url, self._options.api_key, context) as client:
            self._client, self._context, self._surveyed = client, context, None
            identity = await client.identify()
            lanes = Lanes(context.concurrency, context.budget)
            uploader = Uploader(client, lanes, context.uploads)
            self._artifacts = ArtifactWriter(client, context, uploader, KeyedLocks(), self._multipart)
            self._placement = Placement(
                location=self._location,
                as_groups=self._options.experiments_as == "group",
                identity=identity,
                remap=context.remap,
                system=self._system(),
            )
            self._sweeps = Sweeps(client, context)
            self._portfolio_places = PortfolioPlaces(client, self._placement.entity, self._told_place)
            self._registries = RegistryMaker(client)
            self._own_ids = OwnIds(context.memos, self._target_of)
            self._openings = Openings(client, context, RunIds(self._id_policy, self._source_uri()))
            await self._openings.learn_ids()
            await self._check_entity(self._placement.entity)
            yield SystemInfo(
                uri=self.uri,
                product="W&B",
                identity=identity.username or identity.entity,
                server=f"wandb:{self._location.base_url}",
                notes=tuple(
                    f"this server lacks {feature}: {consequence}"
                    for feature, consequence in _CONSEQUENCES.items()
                    if feature not in client.features
                ),
            )

    # -- projects --------------------------------------------------------------------------------

    async def survey(self, projects: Sequence[Project]) -> Survey:
        targets, errors = self._placement.targets([project.namespace for project in projects])
        self._shared = self._placement.shared(targets)
        missing: set[Namespace] = set()
        for entity in sorted({target.entity for target in targets.values()} - {self._placement.entity}):
            try:
                await self._check_entity(entity)
            except EngineError as error:
                errors.append(error)
        closed = {error.subject for error in errors}

        async def look(target: Namespace) -> None:
            try:
                if not await self._is_there(target):
                    missing.add(target)
            except AuthError as error:
                errors.append(error)

        places = {target for target in targets.values() if f"entity {target.entity}" not in closed}
        await for_each(sorted(places), look, limit=PREPARING)
        self._surveyed = Survey(
            targets=targets,
            missing=frozenset(missing),
            errors=tuple(errors),
            warnings=tuple(self._placement.warnings(targets)),
            first_id=self._openings.id_of if self._id_policy is IdPolicy.KEEP else None,
        )
        return self._surveyed

    async def prepare(self, projects: Sequence[Project]) -> Mapping[Namespace, Namespace]:
        survey = self._surveyed
        if survey is None or survey.targets.keys() != {project.namespace for project in projects}:
            survey = await self.survey(projects)
        if survey.errors:
            raise survey.errors[0]
        for source, target in self._placement.renamed(survey.targets).items():
            self._context.lose(
                "project_renamed",
                f"project {source}",
                f"became {target}; the name is kept in its description and in each run",
            )
        of_target = members(survey.targets)
        by_name = {project.namespace: project for project in projects}

        async def create(target: Namespace) -> None:
            sources = [by_name[source] for source in of_target[target]]
            if len(sources) == 1 and sources[0].registry is not None and target.project.startswith(PREFIX):
                await self._create_registry(target, sources[0].registry)
            else:
                await self._create(target, sources)

        await for_each(sorted(survey.missing), create, limit=PREPARING)
        return survey.targets

    async def _check_entity(self, entity: str) -> None:
        """A write never creates an entity, so a wrong one is better told before anything starts."""
        subject = f"entity {entity}"
        found = (await self._client.graphql(documents.ENTITY, {"name": entity}, subject)).get("entity")
        own = self._placement.identity.entities
        if found is None and entity not in own:
            raise ConfigError(
                f"the entity {entity!r} does not exist or is not open to you",
                side=Side.DESTINATION,
                subject=subject,
                remedy=f"entities you may write to: {', '.join(own) or 'none'}",
            )
        if found is not None and found["readOnly"]:
            raise AuthError(
                f"you may read the entity {entity!r}, but not write to it",
                side=Side.DESTINATION,
                subject=subject,
                remedy="ask its owners for write access, or choose another entity",
            )

    async def _is_there(self, target: Namespace) -> bool:
        """Whether a project exists.

        Raises:
            AuthError: it does, and may not be written to.
        """
        where = {"entity": target.entity, "project": target.project}
        subject = f"project {target}"
        found = (await self._client.graphql(documents.PROJECT, where, subject)).get("project")
        if found is not None and found["readOnly"]:
            raise AuthError(
                "you may read this project, but not write to it",
                side=Side.DESTINATION,
                subject=subject,
                remedy="ask its owners for write access, or choose another project",
            )
        return found is not None

    async def _create(self, target: Namespace, sources: Sequence[Project]) -> None:
        where = {"entity": target.entity, "project": target.project}
        # Somebody may create it at the same moment; then it is there, as it should be.
        with suppress(Conflict):
            created = await self._client.graphql(
                documents.UPSERT_PROJECT,
                {**where, "description": self._description(target, sources)},
                f"project {target}",
            )
            if created["upsertModel"]["inserted"]:
                self._openings.made(target, single=len(sources) == 1)

    async def _create_registry(self, target: Namespace, registry: Registry) -> None:
        try:
            await self._registries.ensure(target, registry)
        except NotFound as error:
            # What else there is can be brought; its portfolios fail by name.
            self._context.lose("registry_dropped", f"registry {registry.namespace}", error.message)

    def _description(self, target: Namespace, sources: Sequence[Project]) -> str | None:
        if len(sources) != 1 or target in self._shared:
            return f"Imported from {self._source_uri()}" if self._source_uri() else None
        source = sources[0]
        original = source.namespace.project
        renamed = f"Imported from {original!r}" if original != target.project else None
        return "\n\n".join(part for part in (source.description, renamed) if part) or None

    def audit(self) -> WandbAudit:
        return WandbAudit(self._rest, self._options)

    # -- runs ------------------------------------------------------------------------------------

    async def open_run(self, run: Run, namespace: Namespace) -> RunWriter:
        mapping = self._mapping(run, namespace)
        return await open_run(
            self._client, self._context, namespace, mapping, self._artifacts, self._openings
        )

    async def holds_run(self, run: Run, namespace: Namespace) -> bool:
        return await self._openings.holds(namespace, run_id(run.id))

    async def learn_ids(self) -> None:
        await self._openings.learn_ids()

    async def open_collection(self, collection: Collection, namespace: Namespace) -> CollectionWriter:
        return await SequenceWriter.open(
            self._place(collection, namespace),
            self._source_uri(),
            self._found_run,
            self._target_of,
            self._own_ids,
            collection,
            recreate=self._options.recreate,
        )

    async def delete_collection(self, collection: Collection, namespace: Namespace) -> None:
        await delete_sequence(self._place(collection, namespace))

    async def foretell_collection(
        self, collection: Collection, versions: Sequence[Version], namespace: Namespace
    ) -> Problem | None:
        place = self._place(collection, namespace)
        return await foretell(place, self._source_uri(), versions, recreate=self._options.recreate)

    def _place(self, collection: Collection, namespace: Namespace) -> Place:
        return Place(
            client=self._client,
            context=self._context,
            uploader=self._artifacts.uploader,
            multipart=self._multipart,
            memos=self._context.memos.of_project(collection.namespace, namespace),
            namespace=namespace,
            name=artifact_name(collection.name),
            type=artifact_type(collection.type),
        )

    async def write_portfolio(self, portfolio: Portfolio, *, whole: bool) -> Receipt:
        source = portfolio.collection
        place = await self._portfolio_places.of(source.namespace)
        if place is None:
            self._context.lose("portfolio_dropped", f"portfolio {source}", "its project is not moved")
            return Receipt(skipped=True)
        if portfolio.registry is not None and place.project.startswith(PREFIX):
            await self._registries.ensure(place, portfolio.registry)
        writer = PortfolioWriter(
            client=self._client,
            context=self._context,
            memos=self._context.memos.of_project(source.namespace, place),
            ids=VersionIds(self._client),
            namespace=place,
            name=portfolio_name(source.name),
            home=self._told_place,
            whole=whole,
        )
        return await writer.write(portfolio)

    async def foretell_portfolio(self, portfolio: Portfolio) -> Problem | None:
        place = await self._portfolio_places.of(portfolio.collection.namespace)
        if portfolio.registry is None or place is None or not place.project.startswith(PREFIX):
            return None
        return await self._registries.foretell(place)

    def _told_place(self, source: Namespace) -> Namespace | None:
        """Where a project goes, or went at another time, because the user says so."""
        return self._target_of(source) or self._placement.wished(source)

    def _target_of(self, source: Namespace) -> Namespace | None:
        """Where a project of the source goes, None if it is not moved."""
        return self._surveyed.targets.get(source) if self._surveyed is not None else None

    async def _found_run(self, run: RunRef) -> RunRef | None:
        """What a run of the source is here, None if it is not."""
        if (target := self._target_of(run.namespace)) is None:
            return None
        name = self._openings.id_of(Run(id=run.id, namespace=run.namespace), target)
        return RunRef(target, name) if await self._openings.holds(target, name) else None

    def rehearse(self, run: Run, namespace: Namespace) -> RunRehearsal:
        mapping = self._mapping(replace(run, sweep=None), namespace)
        return WandbRunRehearsal(mapping=mapping, namespace=namespace, writer=self._artifacts)

    def _mapping(self, run: Run, namespace: Namespace) -> RunMapping:
        kind = ReplicaMapping if is_replica(run) else RunMapping
        return kind(
            run=run,
            place=namespace,
            context=self._context,
            source_uri=self._source_uri(),
            system=self._system(),
            default_group=run.namespace.project if namespace in self._shared else None,
            sweep=self._sweeps.names.get((run.namespace, run.sweep)) if run.sweep else None,
        )

    # -- sweeps and reports ----------------------------------------------------------------------

    def adopt_sweep(self, sweep: Sweep, note: Json) -> None:
        self._sweeps.adopt(sweep, str(note))

    async def write_sweep(self, sweep: Sweep, namespace: Namespace) -> Receipt:
        return await self._sweeps.write(sweep, namespace)

    def view_writer(self, places: Mapping[Namespace, Namespace], read: Reader) -> WandbViewWriter:
        source = self._context.source
        server = source.first_server if source else None
        references = References(
            places=places,
            source_url=(server or "").removeprefix("wandb:"),
            url=self._location.base_url,
            run_id=lambda place, run: self._openings.id_of(Run(id=run, namespace=place), places[place]),
            sweeps=self._sweeps.names,
        )

        async def open_files(project: Namespace) -> RunWriter:
            # No run of the source, and not told to be one.
            run = Run(id=run_of_files(project), namespace=project, name=report_files.NAME)
            mapping = RunMapping(
                run=run,
                place=places[project],
                context=self._context,
                source_uri=f"reports of {self._source_uri()}",
                system=self._system(),
            )
            return await open_run(
                self._client, self._context, places[project], mapping, self._artifacts, self._openings
            )

        files = ReportFiles(self._context, open_files, read)
        return WandbViewWriter(self._client, self._context, references, files)

    def _source_uri(self) -> str:
        source = self._context.source
        # Runs of an archive came from somewhere else, and they are to be the same as if they came directly.
        return (source.origin or source.uri) if source else ""

    def _system(self) -> str:
        return self._source_uri().partition(":")[0] or "source"
