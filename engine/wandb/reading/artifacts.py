"""Artifact versions that runs logged, and what is in them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote

import orjson

from engine.errors import NotFound
from engine.records import Artifact, ArtifactEntry, Blob, Json, Namespace, Run
from engine.transfer.context import Context
from engine.wandb import artifact_uris
from engine.wandb.artifact_uris import Reference
from engine.wandb.client import WandbClient
from engine.wandb.reading import documents
from engine.wandb.reading.locating import read_bytes
from engine.wandb.reading.manifests import read_manifest
from engine.wandb.reading.pages import address, of_run, pages
from engine.wandb.reading.runs import counts_of
from engine.wandb.reading.values import milliseconds, parse_object

PER_PAGE = 100
FILES_PER_PAGE = 5_000
"""As the SDK asks for the URLs of a download."""

HISTORY_TYPE: Final = "wandb-history"
"""The server's own exports of histories; whoever writes the history elsewhere gets them made there."""

KIND = "entry"


async def list_artifacts(client: WandbClient, context: Context, run: Run) -> AsyncGenerator[Artifact]:
    """The versions that a run logged, as far as they were finished and are still there."""
    if counts_of(run).artifacts == 0:
        return
    subject = f"artifacts of run {run.id}"
    variables = {**address(run), "perPage": PER_PAGE, "withTags": "ARTIFACT_TAGS" in client.features}
    found = pages(
        client,
        documents.OUTPUT_ARTIFACTS,
        variables,
        lambda data: of_run(data, subject, client)["outputArtifacts"],
        subject,
    )
    async with aclosing(found) as listed:
        async for page in listed:
            for node in page:
                if node["artifactType"]["name"] == HISTORY_TYPE:
                    continue
                if node["state"] == "COMMITTED":
                    yield artifact_of(node, run.id)
                else:
                    name = f"{node['artifactSequence']['name']}:v{node['versionIndex']}"
                    context.lose("artifact_unfinished", f"run {run.id}", f"{name} is {node['state'].lower()}")


def artifact_of(node: Mapping[str, Json], run_id: str | None) -> Artifact:
    """One version; its aliases are those in its own collection, not those of links to it."""
    sequence = node["artifactSequence"]
    # The project of a collection may be gone while its versions are not.
    project = sequence.get("project") or {"entityName": "", "name": ""}
    namespace = Namespace(project["entityName"], project["name"])
    ttl = node.get("ttlDurationSeconds")
    aliases = [
        alias["alias"]
        for alias in node.get("aliases") or ()
        if _is_of(alias, sequence["id"], sequence["name"])
    ]
    return Artifact(
        namespace=namespace,
        name=sequence["name"],
        type=node["artifactType"]["name"],
        run_id=run_id,
        version=node["versionIndex"],
        aliases=tuple(dict.fromkeys(aliases)),
        tags=tuple(tag["name"] for tag in node.get("tags") or ()),
        description=node.get("description") or None,
        metadata=parse_object(node.get("metadata")),
        created_at=milliseconds(node["createdAt"]),
        digest=node["digest"],
        ttl_s=None if node.get("ttlIsInherited") or ttl is None or ttl <= 0 else int(ttl),
        locator=orjson.dumps([node["id"], namespace.entity, namespace.project, sequence["name"]]).decode(),
    )


def id_of(artifact: Artifact) -> str:
    """The server's id of a version that was read from it."""
    version_id: str = orjson.loads(artifact.locator)[0]
    return version_id


def _is_of(alias: Mapping[str, Json], collection_id: str, name: str) -> bool:
    collection = alias.get("artifactCollection")
    if collection is None:
        return bool(alias["artifactCollectionName"] == name)
    return bool(collection["id"] == collection_id)


async def list_entries(
    client: WandbClient, artifact: Artifact, *, as_it_is: bool = False
) -> AsyncGenerator[ArtifactEntry]:
    """The entries that the manifest of a version has, with the addresses of their bytes.

    Args:
        as_it_is: also of a manifest that is not what the server says that it is.

    Raises:
        IntegrityError: the manifest is not what the server says that it is.
        Unsupported: it is of a version that is not known.
    """
    version_id, *home = orjson.loads(artifact.locator)
    subject = f"artifact {artifact.name}:v{artifact.version}"
    data = await client.graphql(documents.MANIFEST, {"id": version_id, "perPage": FILES_PER_PAGE}, subject)
    node = data.get("artifact")
    if node is None or node.get("currentManifest") is None:
        raise NotFound("the version has no manifest that is open to you", side=client.side, subject=subject)
    manifest = await read_manifest(
        client, version_id, node["currentManifest"], artifact.digest, subject, as_it_is=as_it_is
    )
    contents: dict[str, Json] = manifest["contents"]
    of = _Version(version_id, tuple(home), manifest.get("storagePolicyConfig") or {})
    names = Names(client, subject)
    async with aclosing(_files(client, version_id, node["files"], subject)) as files:
        async for file in files:
            entry = contents.pop(file["name"], None)
            if entry is not None:
                yield await names.told(of.entry(file["name"], entry, file["directUrl"]))
    for path, entry in contents.items():
        yield await names.told(of.entry(path, entry, None))


@dataclass(slots=True)
class Names:
    """Versions that something refers to, by their names, which mean something on other servers, too."""

    client: WandbClient
    subject: str
    _known: dict[str, Reference | None] = field(default_factory=dict)

    async def told(self, entry: ArtifactEntry) -> ArtifactEntry:
        """An entry that refers to a version by its name; as it is if that version is gone."""
        found = None if entry.ref is None else artifact_uris.by_id(entry.ref)
        if found is None:
            return entry
        version_id, path = found
        reference = await self.of(version_id)
        return entry if reference is None else replace(entry, ref=str(replace(reference, path=path)))

    async def of(self, version_id: str) -> Reference | None:
        """The version of an id, without a path; None if it is gone."""
        if version_id not in self._known:
            self._known[version_id] = await self._asked(version_id)
        return self._known[version_id]

    async def _asked(self, version_id: str) -> Reference | None:
        data = await self.client.graphql(documents.ARTIFACT_NAME, {"id": version_id}, self.subject)
        node = data.get("artifact")
        home = ((node or {}).get("artifactSequence") or {}).get("project")
        if node is None or home is None or node["state"] != "COMMITTED":
            return None
        namespace = Namespace(home["entityName"], home["name"])
        return Reference(namespace, node["artifactSequence"]["name"], node["versionIndex"], "")


async def _files(
    client: WandbClient, version_id: str, first: Mapping[str, Json], subject: str
) -> AsyncGenerator[Mapping[str, Json]]:
    """The files of a version, of which the first page is there already."""
    for edge in first["edges"]:
        yield edge["node"]
    if not first["pageInfo"]["hasNextPage"]:
        return
    found = pages(
        client,
        documents.ARTIFACT_FILES,
        {"id": version_id, "perPage": FILES_PER_PAGE},
        lambda data: (data.get("artifact") or {}).get("files"),
        subject,
        cursor=first["pageInfo"]["endCursor"],
    )
    async with aclosing(found) as listed:
        async for page in listed:
            for node in page:
                yield node


@dataclass(frozen=True, slots=True)
class _Version:
    """A version, as far as its entries have to know it.

    Attributes:
        home: entity, project and collection.
        storage: ``storagePolicyConfig`` of the manifest.
    """

    id: str
    home: tuple[str, ...]
    storage: Mapping[str, Json]

    def entry(self, path: str, json: Mapping[str, Json], url: str | None) -> ArtifactEntry:
        """An entry of the manifest; ``local_path`` and such in it are of the writer's own disk."""
        ref, extra, size = json.get("ref"), json.get("extra") or {}, json.get("size")
        if ref is not None:
            return ArtifactEntry(path=path, size=size, ref=ref, digest=json["digest"], extra=extra)
        locator = [KIND, self.id, path, url, self._own_url(path, json)]
        return ArtifactEntry(
            path=path,
            size=size,
            md5=json["digest"] if "alg" not in extra else None,
            digest=json["digest"],
            extra=extra,
            locator=orjson.dumps(locator).decode(),
        )

    def _own_url(self, path: str, json: Mapping[str, Json]) -> str | None:
        """Where the server itself hands out the bytes, by digest.

        Source: ``wandb_storage_policy.py`` of the SDK. None for a digest that is not in base64.
        """
        try:
            digest = base64.b64decode(json["digest"], validate=True).hex()
        except (binascii.Error, ValueError):
            return None
        entity, project, collection = self.home
        if self.storage.get("storageLayout") != "V2":
            return f"/artifacts/{quote(entity, safe='')}/{digest}"
        name = path.rpartition("/")[2]
        parts = (
            self.storage.get("storageRegion") or "default",
            entity,
            project,
            collection,
            json.get("birthArtifactID") or self.id,
            digest,
            name,
        )
        return "/artifactsV2/" + "/".join(quote(part, safe="") for part in parts)


def read_entry(client: WandbClient, blob: Blob, offset: int) -> AsyncGenerator[bytes]:
    """The bytes of a file of an artifact: by its URL, a new one, and at last from the server itself."""
    _, version_id, path, given, own = orjson.loads(blob.locator)
    subject = f"artifact file {path}"

    async def urls(asked: int) -> str | None:
        if given is None or asked >= 2:
            return None if own is None else str(own)
        if not asked:
            return str(given)
        variables = {"id": version_id, "perPage": 1, "names": [path]}
        data = await client.graphql(documents.ARTIFACT_FILES, {**variables, "cursor": None}, subject)
        edges = ((data.get("artifact") or {}).get("files") or {}).get("edges")
        return str(edges[0]["node"]["directUrl"]) if edges else own

    return read_bytes(client, blob, urls, subject, offset)
