"""Artifact versions: what is said of them, what is in them, and their bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import anyio

from engine.errors import ConfigError, NotFound
from engine.fanout import for_each
from engine.records import Artifact as ArtifactRecord
from engine.records import ArtifactEntry, Json, Namespace, RunRef
from engine.records import Run as RunRecord
from engine.wandb.api import documents
from engine.wandb.api.asking import page_size
from engine.wandb.api.errors import raising_comm_errors, streaming_comm_errors
from engine.wandb.api.saving import is_there, place, save, taken
from engine.wandb.api.session import Session
from engine.wandb.api.times import utc
from engine.wandb.api.update import checked_tags
from engine.wandb.reading.artifacts import artifact_of, list_entries, read_entry
from engine.wandb.reading.pages import address, of_run, pages
from engine.wandb.reading.runs import project_url
from engine.wandb.reading.values import parse_object

PER_PAGE = 100
AT_ONCE = 16
"""Files of a version that are fetched at the same time."""


class Artifact:
    """One version of an artifact.

    Attributes:
        record: the same version as every other source of this package tells it.
        collection: its name there; ``name`` has the version, too: ``dataset:v3``.
        state: ``COMMITTED`` unless it was never finished or is gone.
        is_orphaned: its project is gone.
    """

    def __init__(self, session: Session, node: Mapping[str, Json], collection: str | None = None) -> None:
        self._session = session
        self._node = node
        self.record: ArtifactRecord = artifact_of(node, None)
        self.collection = collection or self.record.name
        self.state: str = node["state"]
        self.is_orphaned = not self.record.namespace.project
        self.description = self.record.description
        self.metadata: dict[str, Json] = parse_object(node.get("metadata"))

    @property
    def id(self) -> str:
        return str(self._node["id"])

    @property
    def name(self) -> str:
        """Collection and version."""
        return f"{self.collection}:{self.version}"

    @property
    def qualified_name(self) -> str:
        """With entity and project."""
        return f"{self.record.namespace}/{self.name}"

    @property
    def entity(self) -> str:
        return self.record.namespace.entity

    @property
    def project(self) -> str:
        return self.record.namespace.project

    @property
    def type(self) -> str:
        return self.record.type

    @property
    def version(self) -> str:
        """``v`` and its number."""
        return f"v{self.record.version}"

    @property
    def aliases(self) -> list[str]:
        return list(self.record.aliases)

    @property
    def tags(self) -> list[str]:
        return list(self.record.tags)

    @property
    def digest(self) -> str:
        """Of its manifest, in W&B's form."""
        return self._node["digest"] or ""

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return int(self._node["size"])

    @property
    def file_count(self) -> int:
        return int(self._node["fileCount"])

    @property
    def url(self) -> str | None:
        """Where a browser shows it; None if its project is gone."""
        if self.is_orphaned:
            return None
        parts = (self.type, self.collection, self.version)
        shown = "/".join(quote(part, safe="") for part in parts)
        return f"{project_url(self._session.client.base_url, self.record.namespace)}/artifacts/{shown}"

    @property
    def created_at(self) -> str:
        return utc(self._node["createdAt"])

    @property
    def updated_at(self) -> str | None:
        updated = self._node.get("updatedAt")
        return utc(updated) if updated else None

    @streaming_comm_errors
    async def entries(self) -> AsyncGenerator[ArtifactEntry]:
        """What its manifest lists: files with their digests, and references."""
        async with aclosing(list_entries(self._session.client, self.record)) as entries:
            async for entry in entries:
                yield entry

    async def manifest(self) -> dict[str, ArtifactEntry]:
        """The entries by path."""
        return {entry.path: entry async for entry in self.entries()}

    @raising_comm_errors
    async def download(
        self, root: str | Path | None = None, *, path_prefix: str = "", replace: bool = False
    ) -> Path:
        """Put its files under ``root``, each checked against size and MD5; what is there and right stays.

        References have no bytes here and are left out. A digest of another kind than MD5 is not checked.

        Args:
            root: by default ``artifacts/NAME:VERSION``, as with the SDK.
            path_prefix: only files whose path starts so.
            replace: write over files that are there and are others.

        Raises:
            Conflict: another file is there.
            IntegrityError: bytes do not agree with the manifest.
        """
        directory = Path("artifacts", self.name) if root is None else Path(root)
        await anyio.Path(directory).mkdir(parents=True, exist_ok=True)

        async def fetch(entry: ArtifactEntry) -> None:
            if entry.ref is not None or not entry.path.startswith(path_prefix):
                return
            target = place(directory, entry.path)
            if await anyio.Path(target).exists():
                if await is_there(target, entry.size, entry.md5):
                    return
                if not replace:
                    raise taken(target)
            pieces = read_entry(self._session.client, entry, 0)
            subject = f"{entry.path} of artifact {self.name}"
            await save(pieces, target, size=entry.size, md5=entry.md5, subject=subject)

        async with aclosing(self.entries()) as entries:
            await for_each(entries, fetch, limit=AT_ONCE)
        return directory

    @raising_comm_errors
    async def logged_by(self) -> RunRef | None:
        """The run that made it; None if a person did."""
        async with aclosing(self._lineage()) as found:
            async for artifact in found:
                maker = artifact.get("createdBy") or {}
                return _run_ref(maker) if maker.get("__typename") == "Run" else None
        return None

    @raising_comm_errors
    async def used_by(self) -> list[RunRef]:
        """The runs that read it."""
        async with aclosing(self._lineage()) as found:
            refs = [_run_ref(edge["node"]) async for page in found for edge in page["usedBy"]["edges"]]
        return [ref for ref in refs if ref is not None]

    async def _lineage(self) -> AsyncGenerator[Mapping[str, Json]]:
        """The version with its users, page by page."""
        subject = f"lineage of artifact {self.name}"
        answers: list[Mapping[str, Json]] = []

        def connection(data: Json) -> Mapping[str, Json] | None:
            answers[:] = [data["artifact"]] if data.get("artifact") else []
            return answers[0]["usedBy"] if answers else None

        variables = {"id": self.id, "perPage": PER_PAGE}
        found = pages(self._session.client, documents.LINEAGE, variables, connection, subject)
        async with aclosing(found):
            async for _ in found:
                yield answers[0]

    def __repr__(self) -> str:
        return f"<Artifact {self.qualified_name} ({self.type})>"


def _run_ref(node: Mapping[str, Json]) -> RunRef | None:
    project = node.get("project")
    return RunRef(Namespace(project["entityName"], project["name"]), node["name"]) if project else None


def _with_tags(session: Session) -> bool:
    return "ARTIFACT_TAGS" in session.client.features


async def find_artifact(session: Session, namespace: Namespace, name: str, kind: str | None) -> Artifact:
    """One version by ``collection:alias``.

    Raises:
        NotFound: there is none.
        ConfigError: it is of another type than was asked for.
    """
    subject = f"artifact {namespace}/{name}"
    variables = {
        "entity": namespace.entity,
        "project": namespace.project,
        "name": name,
        "withTags": _with_tags(session),
    }
    data = await session.client.graphql(documents.ARTIFACT, variables, subject)
    node = (data.get("project") or {}).get("artifact")
    if node is None:
        raise NotFound("not there, or not open to you", side=session.client.side, subject=subject)
    found = Artifact(session, node)
    if kind is not None and found.type != kind:
        raise ConfigError(f"it is of type {found.type!r}, not {kind!r}", subject=subject)
    return found


@streaming_comm_errors
async def artifacts_of_run(
    session: Session, run: RunRecord, document: str, per_page: int
) -> AsyncGenerator[Artifact]:
    """The versions that a run made or read."""
    subject, client = f"artifacts of run {run.id}", session.client
    variables = {**address(run), "perPage": page_size(per_page), "withTags": _with_tags(session)}
    found = pages(
        client, document, variables, lambda data: of_run(data, subject, client)["artifacts"], subject
    )
    async with aclosing(found):
        async for page in found:
            for node in page:
                yield Artifact(session, node)


@streaming_comm_errors
async def versions_of(
    session: Session,
    namespace: Namespace,
    kind: str,
    collection: str,
    per_page: int,
    tags: Sequence[str] | None = None,
) -> AsyncGenerator[Artifact]:
    """The finished versions of a collection that have all of these tags, the newest first."""
    wanted = frozenset(checked_tags(tags or ()))
    variables = {
        "entity": namespace.entity,
        "project": namespace.project,
        "type": kind,
        "collection": collection,
        "perPage": page_size(per_page),
        "filters": '{"state":"COMMITTED"}',
        "withTags": _with_tags(session),
    }

    def connection(data: Json) -> Mapping[str, Json] | None:
        of_type = (data.get("project") or {}).get("artifactType") or {}
        listed: Mapping[str, Json] | None = (of_type.get("artifactCollection") or {}).get("artifacts")
        return listed

    subject = f"versions of {namespace}/{collection}"
    found = pages(session.client, documents.VERSIONS, variables, connection, subject)
    async with aclosing(found):
        async for page in found:
            for node in page:
                version = Artifact(session, node, collection)
                if wanted <= set(version.tags):
                    yield version


@dataclass(frozen=True, slots=True)
class Collection:
    """A sequence of versions, or a portfolio that others are linked to.

    Attributes:
        created_at: ISO 8601 with a zone.
    """

    session: Session
    namespace: Namespace
    name: str
    type: str
    description: str | None
    aliases: tuple[str, ...]
    created_at: str
    is_portfolio: bool

    def versions(self, per_page: int = PER_PAGE) -> AsyncGenerator[Artifact]:
        """Its versions, the newest first."""
        return versions_of(self.session, self.namespace, self.type, self.name, per_page)

    def __repr__(self) -> str:
        return f"<Collection {self.namespace}/{self.name} ({self.type})>"


@streaming_comm_errors
async def list_collections(
    session: Session, namespace: Namespace, kind: str | None
) -> AsyncGenerator[Collection]:
    """The collections of a project, of one type or of all.

    Raises:
        NotFound: there is no such project, or no such type in it.
    """
    variables = {"entity": namespace.entity, "project": namespace.project, "perPage": PER_PAGE}
    none = True
    found = pages(
        session.client,
        documents.COLLECTIONS,
        variables,
        lambda data: (data.get("project") or {}).get("artifactCollections"),
        f"collections of {namespace}",
    )
    async with aclosing(found):
        async for page in found:
            for node in page:
                if kind is None or node["defaultArtifactType"]["name"] == kind:
                    none = False
                    yield _collection(session, namespace, node)
    if none and kind is not None and kind not in [each async for each in list_types(session, namespace)]:
        raise NotFound(
            f"there is no type {kind!r}", side=session.client.side, subject=f"collections of {namespace}"
        )


def _collection(session: Session, namespace: Namespace, node: Mapping[str, Json]) -> Collection:
    return Collection(
        session=session,
        namespace=namespace,
        name=node["name"],
        type=node["defaultArtifactType"]["name"],
        description=node.get("description") or None,
        aliases=tuple(edge["node"]["alias"] for edge in (node.get("aliases") or {}).get("edges") or ()),
        created_at=utc(node["createdAt"]),
        is_portfolio=node["__typename"] == "ArtifactPortfolio",
    )


@streaming_comm_errors
async def list_types(session: Session, namespace: Namespace) -> AsyncGenerator[str]:
    """The types of artifacts of a project."""
    variables = {"entity": namespace.entity, "project": namespace.project, "perPage": PER_PAGE}
    found = pages(
        session.client,
        documents.TYPES,
        variables,
        lambda data: (data.get("project") or {}).get("artifactTypes"),
        f"artifact types of {namespace}",
    )
    async with aclosing(found):
        async for page in found:
            for node in page:
                yield node["name"]
