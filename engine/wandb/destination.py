"""A W&B server to write to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from engine.errors import AuthError, ConfigError, Conflict, Side
from engine.protocols import RunWriter, SystemOptions
from engine.records import Namespace, Project, Run, SystemInfo
from engine.transfer.context import Context
from engine.wandb import documents, uri
from engine.wandb.artifacts import ArtifactWriter
from engine.wandb.client import Identity, WandbClient, connect
from engine.wandb.digests import Multipart
from engine.wandb.fanout import KeyedLocks, for_each
from engine.wandb.lanes import Lanes
from engine.wandb.mapping import RunMapping
from engine.wandb.names import is_project_name, project_names
from engine.wandb.run_writer import open_run
from engine.wandb.uploads import Uploader

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
        self._multipart = multipart or Multipart()
        self._shared: set[Namespace] = set()
        self._client: WandbClient
        self._context: Context
        self._identity: Identity
        self._artifacts: ArtifactWriter

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        async with connect(self._location.base_url, self._options.api_key, context) as client:
            self._client, self._context = client, context
            self._identity = await client.identify()
            lanes = Lanes(context.concurrency, context.budget)
            uploader = Uploader(client, lanes, context.uploads)
            self._artifacts = ArtifactWriter(client, context, uploader, KeyedLocks(), self._multipart)
            await self._check_entity(self._entity())
            yield SystemInfo(
                uri=self.uri,
                product="W&B",
                identity=self._identity.username or self._identity.entity,
                notes=tuple(
                    f"this server lacks {feature}: {consequence}"
                    for feature, consequence in _CONSEQUENCES.items()
                    if feature not in client.features
                ),
            )

    # -- projects --------------------------------------------------------------------------------

    async def prepare(self, projects: Sequence[Project]) -> Mapping[Namespace, Namespace]:
        targets = self._targets([project.namespace for project in projects])
        members: dict[Namespace, list[Project]] = defaultdict(list)
        for project in projects:
            members[targets[project.namespace]].append(project)
        # Where experiments meet in one project, the group is what tells them apart.
        self._shared = {
            target
            for target, sources in members.items()
            if len(sources) > 1 or target.project == self._single_project()
        }
        for entity in {target.entity for target in members} - {self._entity()}:
            await self._check_entity(entity)
        await for_each(members.items(), self._ensure, limit=PREPARING)
        return targets

    def _targets(self, sources: Sequence[Namespace]) -> dict[Namespace, Namespace]:
        targets: dict[Namespace, Namespace] = {}
        for source in sources:
            if wish := self._wish(source):
                targets[source] = self._wished(wish)
            elif single := self._single_project():
                targets[source] = Namespace(self._entity(), single)
        named = project_names([source for source in sources if source not in targets])
        return targets | {source: Namespace(self._entity(), name) for source, name in named.items()}

    def _wish(self, source: Namespace) -> str | None:
        return self._context.remap.get(source.path) or self._context.remap.get(source.project)

    def _wished(self, wish: str) -> Namespace:
        entity, slash, project = wish.partition("/")
        if not slash:
            entity, project = self._entity(), wish
        if not entity or not is_project_name(project):
            raise ConfigError(
                f"cannot remap to {wish!r}",
                side=Side.DESTINATION,
                remedy="write entity/project or project, at most 128 characters and none of / \\ # ? % :",
            )
        return Namespace(entity, project)

    def _single_project(self) -> str | None:
        if self._location.project is None and self._options.experiments_as == "group":
            return f"imported-from-{self._system()}"
        return self._location.project

    def _entity(self) -> str:
        entity = self._location.entity or self._identity.entity
        if not entity:
            raise ConfigError(
                "no entity is given, and this account has no default one",
                side=Side.DESTINATION,
                remedy=f"write wandb:ENTITY/PROJECT with one of {', '.join(self._identity.entities)}",
            )
        return entity

    async def _check_entity(self, entity: str) -> None:
        """A write never creates an entity, so a wrong one is better told before anything starts."""
        if entity in self._identity.entities:
            return
        data = await self._client.graphql(documents.ENTITY, {"name": entity}, f"entity {entity}")
        if data.get("entity") is None:
            raise ConfigError(
                f"the entity {entity!r} does not exist or is not open to you",
                side=Side.DESTINATION,
                remedy=f"entities you may write to: {', '.join(self._identity.entities) or 'none'}",
            )

    async def _ensure(self, item: tuple[Namespace, list[Project]]) -> None:
        target, sources = item
        for source in sources:
            namespace = source.namespace
            if target in self._shared or namespace.project == target.project or self._wish(namespace):
                continue
            self._context.lose(
                "project_renamed",
                f"project {namespace}",
                f"became {target}; the name is kept in its description and in each run",
            )
        where = {"entity": target.entity, "project": target.project}
        subject = f"project {target}"
        found = (await self._client.graphql(documents.PROJECT, where, subject)).get("project")
        if found is None:
            description = self._description(target, sources)
            # Somebody may create it at the same moment; then it is there, as it should be.
            with suppress(Conflict):
                await self._client.graphql(
                    documents.UPSERT_PROJECT, {**where, "description": description}, subject
                )
        elif found["readOnly"]:
            raise AuthError(
                "you may read this project, but not write to it",
                side=Side.DESTINATION,
                subject=subject,
                remedy="ask its owners for write access, or choose another project",
            )

    def _description(self, target: Namespace, sources: Sequence[Project]) -> str | None:
        if len(sources) != 1 or target in self._shared:
            return f"Imported from {self._source_uri()}" if self._source_uri() else None
        source = sources[0]
        original = source.namespace.project
        renamed = f"Imported from {original!r}" if original != target.project else None
        return "\n\n".join(part for part in (source.description, renamed) if part) or None

    # -- runs ------------------------------------------------------------------------------------

    async def open_run(self, run: Run, namespace: Namespace) -> RunWriter:
        mapping = RunMapping(
            run=run,
            context=self._context,
            source_uri=self._source_uri(),
            system=self._system(),
            default_group=run.namespace.project if namespace in self._shared else None,
        )
        return await open_run(self._client, self._context, namespace, mapping, self._artifacts)

    def _source_uri(self) -> str:
        return self._context.source.uri if self._context.source else ""

    def _system(self) -> str:
        return self._source_uri().partition(":")[0] or "source"
