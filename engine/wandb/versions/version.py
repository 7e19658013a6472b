"""One artifact version on its way: only what the server lacks is sent, then it is committed.

createArtifact ─ COMMITTED: the same content is there already, done
      │
createArtifactManifest ─ createArtifactFiles ─ PUT … ─ createArtifactManifest ─ PUT ─ commitArtifact
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.errors import CommError, IntegrityError
from engine.records import Json, Namespace
from engine.transfer.context import Context
from engine.wandb import documents
from engine.wandb.client import WandbClient
from engine.wandb.digests import Multipart, md5_b64
from engine.wandb.uploads.payloads import InMemory, Payload
from engine.wandb.uploads.sending import Sending
from engine.wandb.uploads.uploader import Uploader
from engine.wandb.versions.manifest import STORAGE_LAYOUT, Entry, manifest_json
from engine.wandb.versions.parts import PartsUpload
from engine.wandb.versions.unfinished import CLIENT_IDS, Unfinished

BATCH = 1_000
"""Files whose URLs are asked for in one request."""


@dataclass(frozen=True, slots=True)
class _Content:
    """The manifest as something to send."""

    size: int
    payload: InMemory


@dataclass(slots=True, kw_only=True)
class Version:
    """The steps of the protocol, in this order: ``create``, ``upload``, ``commit``.

    Attributes:
        number: in its collection, once it is committed, if the server tells.
    """

    client: WandbClient
    context: Context
    uploader: Uploader
    namespace: Namespace
    run_id: str
    subject: str
    entries: Sequence[Entry]
    multipart: Multipart
    unfinished: Unfinished
    id: str = ""
    base_id: str | None = None
    manifest_id: str = ""
    number: int | None = None

    async def create(self, content: Mapping[str, Json]) -> bool:
        """Announce the version; True if the server has its content already."""
        new = {name: content[name] for name in CLIENT_IDS}
        ids = await self.unfinished.client_ids(new)
        created = await self._announced({**content, **ids})
        if created["state"] == "DELETED" and ids != new:
            # What was interrupted has been cleaned away since.
            await self.unfinished.begin(new)
            created = await self._announced(content)
        self.id = created["id"]
        if created["state"] == "COMMITTED":
            self.number = created.get("versionIndex")
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

    async def _announced(self, content: Mapping[str, Json]) -> Json:
        data = await self.client.graphql(documents.CREATE_ARTIFACT, {"input": content}, self.subject)
        return data["createArtifact"]["artifact"]

    async def upload(self) -> None:
        """Send what the server lacks.

        Raises:
            EngineError: an entry did not arrive; it is named.
        """
        self.manifest_id = (await self._manifest("", include_upload=False))["id"]
        sending = Sending(
            lanes=self.uploader.lanes,
            sign=self._sign,
            send=self._send_small,
            send_large=self._send_large,
            batch=BATCH,
        )
        await sending.all([entry for entry in self.entries if entry.ref is None])

    async def _sign(self, batch: Sequence[Entry]) -> Sequence[Json]:
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
        return nodes

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

    async def _send_small(self, entry: Entry, node: Mapping[str, Json], payload: Payload) -> None:
        # No URL: the server has the content already.
        if (url := node["uploadUrl"]) is not None:
            await self._put(entry, url, node["uploadHeaders"] or (), payload)
        self._sent(entry, node)

    async def _send_large(self, entry: Entry, node: Mapping[str, Json]) -> None:
        if node.get("uploadMultipartUrls") and entry.parts:
            await self._send_parts(entry, node)
        elif (url := node["uploadUrl"]) is not None:
            assert entry.payload is not None
            async with self.uploader.streaming():
                await self._put(entry, url, node["uploadHeaders"] or (), entry.payload)
        self._sent(entry, node)

    async def _put(self, entry: Entry, url: str, headers: Sequence[str], payload: Payload) -> None:
        assert entry.size is not None
        await self.uploader.put(
            url, headers, payload, size=entry.size, subject=self._named(entry), md5=entry.digest
        )

    def _sent(self, entry: Entry, node: Mapping[str, Json]) -> None:
        entry.birth_artifact_id = self._birth(node)
        entry.payload = None
        self.context.counters.files += 1
        self.context.counters.bytes += entry.size or 0

    def _birth(self, node: Mapping[str, Json]) -> str:
        """The version under which the bytes were first stored."""
        return (node.get("artifact") or {}).get("id") or self.id

    def _named(self, entry: Entry) -> str:
        return f"{entry.path} of {self.subject}"

    async def _send_parts(self, entry: Entry, node: Mapping[str, Json]) -> None:
        async def is_stored() -> bool:
            (now,) = await self._sign([entry])
            return now["uploadUrl"] is None

        assert entry.size is not None
        upload = PartsUpload(
            uploader=self.uploader,
            unfinished=self.unfinished,
            entry=entry,
            node=node,
            part_size=self.multipart.part_size(entry.size),
            artifact_id=self._birth(node),
            subject=self._named(entry),
            is_stored=is_stored,
        )
        await upload.send()

    async def commit(self) -> None:
        """Send the manifest and make the version visible."""
        content = manifest_json(self.entries)
        digest = md5_b64(content)

        async def sign(_one: Sequence[_Content]) -> list[tuple[str, Sequence[str]]]:
            file = (await self._manifest(digest, include_upload=True))["file"]
            return [(file["uploadUrl"], file["uploadHeaders"] or ())]

        async def send(upload: _Content, target: tuple[str, Sequence[str]], payload: Payload) -> None:
            await self.uploader.put(
                *target, payload, size=upload.size, subject=f"manifest of {self.subject}", md5=digest
            )

        async def send_large(upload: _Content, target: tuple[str, Sequence[str]]) -> None:
            async with self.uploader.streaming():
                await send(upload, target, upload.payload)

        sending = Sending(lanes=self.uploader.lanes, sign=sign, send=send, send_large=send_large, batch=1)
        await sending.all([_Content(len(content), InMemory(content))])
        data = await self.client.graphql(documents.COMMIT_ARTIFACT, {"artifactID": self.id}, self.subject)
        self.number = data["commitArtifact"]["artifact"].get("versionIndex")

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
