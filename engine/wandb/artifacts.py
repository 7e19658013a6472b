"""One artifact version: digest first, then only what the server lacks, then the commit.

createArtifact ─ COMMITTED: the same content is there already, done
      │
createArtifactManifest ─ createArtifactFiles ─ PUT … ─ createArtifactManifest ─ PUT ─ commitArtifact
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from engine.errors import AuthError, CommError, Conflict, IntegrityError, NotFound
from engine.protocols import Reader
from engine.records import Artifact, ArtifactEntry, Json, Namespace, Receipt
from engine.transfer.context import Context
from engine.wandb import documents, names
from engine.wandb.client import WandbClient
from engine.wandb.digests import Multipart, artifact_digest, b64, md5_b64
from engine.wandb.fanout import KeyedLocks, for_each
from engine.wandb.jsontext import Plain, clean_text, encode_json
from engine.wandb.manifest import STORAGE_LAYOUT, Entry, manifest_json
from engine.wandb.mapping import PROVENANCE
from engine.wandb.staging import Staging
from engine.wandb.uploads import InMemory, put

FIRST_BATCH, BATCH = 100, 1_000
"""Files whose URLs are asked for in one request: few at first, so that bytes begin to flow at once."""

MAX_METADATA_KEYS = 100
_REFUSALS = (AuthError, NotFound, Conflict, CommError)


def _client_id() -> str:
    """128 lower-case characters, new for each attempt, as W&B's client makes them."""
    return secrets.token_hex(64)


@dataclass(slots=True)
class ArtifactWriter:
    """Writes artifact versions of one server.

    Attributes:
        locks: by collection, because the server numbers versions in the order of their commits.
    """

    client: WandbClient
    context: Context
    locks: KeyedLocks
    multipart: Multipart

    async def write(
        self,
        artifact: Artifact,
        entries: AsyncIterator[ArtifactEntry],
        read: Reader,
        namespace: Namespace,
        run_id: str,
    ) -> Receipt:
        """Make a version with these entries, unless the collection has one of the same content.

        Raises:
            EngineError: it could not be committed; nothing of it is visible then.
        """
        subject = f"artifact {artifact.name}"
        async with Staging.open(self.context, self.multipart, subject) as staging:
            staged = await staging.collect(entries, read)
            name = names.artifact_name(artifact.name)
            async with self.locks.hold((namespace, name)):
                version = _Version(
                    self.client, self.context, namespace, run_id, subject, staged, self.multipart
                )
                existed = await version.create(self._input(artifact, name, namespace, run_id, staged))
                if not existed:
                    await version.upload()
                    await version.commit()
        sizes = [entry.size or 0 for entry in staged if entry.ref is None]
        if existed:
            return Receipt(items=1, skipped=True)
        return Receipt(items=1, files=len(sizes), bytes=sum(sizes))

    def _input(
        self, artifact: Artifact, name: str, namespace: Namespace, run_id: str, entries: Sequence[Entry]
    ) -> dict[str, Json]:
        aliases = [alias for alias in artifact.aliases if names.is_alias(alias) and alias != "latest"]
        self._lose(artifact, "alias_dropped", len({*artifact.aliases} - {*aliases, "latest"}))
        tags = [tag for tag in artifact.tags if names.is_artifact_tag(tag)]
        if "ARTIFACT_TAGS" not in self.client.features:
            tags = []
        self._lose(artifact, "tag_dropped", len(artifact.tags) - len(tags))
        content: dict[str, Json] = {
            "entityName": namespace.entity,
            "projectName": namespace.project,
            "artifactTypeName": names.artifact_type(artifact.type),
            "artifactCollectionName": name,
            "runName": run_id,
            "digest": artifact_digest((entry.path, entry.digest) for entry in entries),
            "digestAlgorithm": "MANIFEST_MD5",
            "enableDigestDeduplication": True,
            # W&B's client asks for `latest` with every version; the server moves it.
            "aliases": [
                {"alias": alias, "artifactCollectionName": name}
                for alias in ("latest", *dict.fromkeys(aliases))
            ],
            "metadata": encode_json(self._metadata(artifact, name)),
            "clientID": _client_id(),
            "sequenceClientID": _client_id(),
        }
        if artifact.description:
            content["description"] = clean_text(artifact.description)
        if tags:
            content["tags"] = [{"tagName": tag} for tag in dict.fromkeys(tags)]
        return content

    def _metadata(self, artifact: Artifact, name: str) -> Mapping[str, Json]:
        """The artifact's own metadata, and what W&B has no field for under ``_import``."""
        plain = Plain()
        own = {str(key): plain.of(value) for key, value in artifact.metadata.items() if key != PROVENANCE}
        self._lose(artifact, "value_coerced", plain.coerced)
        origin: dict[str, Json] = {
            "run_id": artifact.run_id,
            "created_at": artifact.created_at,
            "version": artifact.version,
            "name": clean_text(artifact.name) if artifact.name != name else None,
            "type": artifact.type if names.artifact_type(artifact.type) != artifact.type else None,
            "metadata": artifact.metadata.get(PROVENANCE),
        }
        if len(own) >= MAX_METADATA_KEYS:
            kept = list(own)[: MAX_METADATA_KEYS - 1]
            origin["more_metadata"] = {key: own[key] for key in own if key not in set(kept)}
            self._lose(artifact, "metadata_nested", len(own) - len(kept))
            own = {key: own[key] for key in kept}
        return {**own, PROVENANCE: {key: value for key, value in origin.items() if value is not None}}

    def _lose(self, artifact: Artifact, kind: str, count: int) -> None:
        details = {
            "alias_dropped": "aliases that W&B does not take",
            "tag_dropped": "artifact tags that this server does not take",
            "value_coerced": "metadata values that are not finite became text",
            "metadata_nested": f"metadata beyond {MAX_METADATA_KEYS} keys went to {PROVENANCE}.more_metadata",
        }
        if count:
            self.context.lose(kind, f"artifact {artifact.name}", details[kind], count)


@dataclass(slots=True)
class _Version:
    """One version on its way through the protocol."""

    client: WandbClient
    context: Context
    namespace: Namespace
    run_id: str
    subject: str
    entries: Sequence[Entry]
    multipart: Multipart
    id: str = ""
    base_id: str | None = None
    manifest_id: str = ""

    async def create(self, content: Mapping[str, Json]) -> bool:
        """Announce the version; True if the server has its content already."""
        data = await self.client.graphql(documents.CREATE_ARTIFACT, {"input": content}, self.subject)
        created = data["createArtifact"]["artifact"]
        self.id = created["id"]
        if created["state"] == "COMMITTED":
            return True
        if created["state"] not in ("PENDING", "DELETED"):
            raise CommError(
                f"the server made an artifact in state {created['state']!r}",
                side=self.client.side,
                subject=self.subject,
            )
        latest = (created.get("artifactSequence") or {}).get("latestArtifact") or {}
        self.base_id = latest.get("id")
        return False

    async def upload(self) -> None:
        self.manifest_id = (await self._manifest("", include_upload=False))["id"]
        waiting = [entry for entry in self.entries if entry.ref is None]
        start, size = 0, FIRST_BATCH
        while start < len(waiting):
            batch = waiting[start : start + size]
            refused = await self._upload_batch(batch, last_try=False)
            # A URL may have expired, or lost its object: new ones are asked for once.
            await self._upload_batch(refused, last_try=True)
            start, size = start + len(batch), BATCH

    async def _upload_batch(self, batch: Sequence[Entry], *, last_try: bool) -> list[Entry]:
        """Upload what the server lacks; the entries whose URLs were refused, or an error if told so."""
        if not batch:
            return []
        data = await self.client.graphql(
            documents.CREATE_ARTIFACT_FILES,
            {"files": [self._file_spec(entry) for entry in batch], "layout": STORAGE_LAYOUT},
            self.subject,
        )
        nodes = [edge["node"] for edge in data["createArtifactFiles"]["files"]["edges"]]
        if len(nodes) != len(batch):
            raise IntegrityError(
                f"asked for {len(batch)} upload URLs, got {len(nodes)}",
                side=self.client.side,
                subject=self.subject,
            )
        refused: list[Entry] = []

        async def one(pair: tuple[Entry, Json]) -> None:
            entry, node = pair
            entry.birth_artifact_id = (node.get("artifact") or {}).get("id") or self.id
            try:
                if node["uploadUrl"] is not None or node.get("uploadMultipartUrls"):
                    await self._upload(entry, node)
            except _REFUSALS as error:
                if last_try or error.status is None:
                    raise
                refused.append(entry)
                return
            entry.payload = None
            self.context.counters.files += 1
            self.context.counters.bytes += entry.size or 0

        await for_each(zip(batch, nodes, strict=True), one, limit=self.context.concurrency)
        return refused

    def _file_spec(self, entry: Entry) -> dict[str, Json]:
        spec: dict[str, Json] = {
            "artifactID": self.id,
            "artifactManifestID": self.manifest_id,
            "name": entry.path,
            "md5": entry.digest,
        }
        if entry.parts:
            spec["uploadPartsInput"] = [
                {"partNumber": number, "hexMD5": digest} for number, digest in enumerate(entry.parts, 1)
            ]
        return spec

    async def _upload(self, entry: Entry, node: Mapping[str, Json]) -> None:
        assert entry.payload is not None
        assert entry.size is not None
        headers = node["uploadHeaders"] or []
        if (urls := node.get("uploadMultipartUrls")) and entry.parts:
            await self._upload_parts(entry, node, urls)
            return
        await put(
            self.client.http,
            self.client.absolute(node["uploadUrl"]),
            headers,
            entry.payload,
            size=entry.size,
            subject=f"{entry.path} of {self.subject}",
        )

    async def _upload_parts(self, entry: Entry, node: Mapping[str, Json], urls: Mapping[str, Json]) -> None:
        assert entry.payload is not None
        assert entry.size is not None
        part_size = self.multipart.part_size(entry.size)
        types = [
            header for header in node["uploadHeaders"] or [] if header.lower().startswith("content-type:")
        ]
        done: list[dict[str, Json]] = []
        for index, (part, digest) in enumerate(zip(urls["uploadUrlParts"], entry.parts, strict=True)):
            offset = index * part_size
            subject = f"part {index + 1} of {entry.path} of {self.subject}"
            answer = await put(
                self.client.http,
                self.client.absolute(part["uploadUrl"]),
                [f"Content-MD5:{b64(bytes.fromhex(digest))}", *types],
                entry.payload,
                size=min(part_size, entry.size - offset),
                offset=offset,
                subject=subject,
            )
            if (etag := answer.headers.get("ETag")) is None:
                raise CommError("the object store gave no ETag", side=self.client.side, subject=subject)
            done.append({"partNumber": part["partNumber"], "hexMD5": etag})
        await self.client.graphql(
            documents.COMPLETE_MULTIPART,
            {
                "artifactID": entry.birth_artifact_id,
                "storagePath": node["storagePath"],
                "uploadID": urls["uploadID"],
                "parts": done,
            },
            f"{entry.path} of {self.subject}",
        )

    async def commit(self) -> None:
        content = manifest_json(self.entries)
        manifest = await self._manifest(md5_b64(content), include_upload=True)
        await put(
            self.client.http,
            self.client.absolute(manifest["file"]["uploadUrl"]),
            manifest["file"]["uploadHeaders"] or [],
            InMemory(content),
            size=len(content),
            subject=f"manifest of {self.subject}",
        )
        await self.client.graphql(documents.COMMIT_ARTIFACT, {"artifactID": self.id}, self.subject)

    async def _manifest(self, digest: str, *, include_upload: bool) -> Mapping[str, Json]:
        data = await self.client.graphql(
            documents.CREATE_MANIFEST,
            {
                "artifactID": self.id,
                "baseArtifactID": self.base_id,
                "digest": digest,
                "entity": self.namespace.entity,
                "project": self.namespace.project,
                "run": self.run_id,
                "includeUpload": include_upload,
            },
            self.subject,
        )
        manifest: Mapping[str, Json] = data["createArtifactManifest"]["artifactManifest"]
        return manifest
