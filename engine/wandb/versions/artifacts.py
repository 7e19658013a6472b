"""Artifacts as W&B takes them: what they are called, what is said of them, and in which order they come."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from engine.errors import Conflict
from engine.fanout import KeyedLocks
from engine.protocols import Reader
from engine.records import Artifact, ArtifactEntry, Json, Namespace, Receipt
from engine.transfer.context import Context
from engine.transfer.ledger.memos import RunMemos
from engine.wandb import names
from engine.wandb.client import WandbClient
from engine.wandb.digests import Multipart, artifact_digest
from engine.wandb.jsontext import Plain, clean_text, encode_json
from engine.wandb.mapping import PROVENANCE
from engine.wandb.uploads.uploader import Uploader
from engine.wandb.versions.manifest import Entry
from engine.wandb.versions.staging import Staging
from engine.wandb.versions.unfinished import Unfinished
from engine.wandb.versions.version import Version

MAX_METADATA_KEYS = 100


def _client_id() -> str:
    """128 lower-case characters, new for each attempt, as W&B's client makes them."""
    return secrets.token_hex(64)


@dataclass(slots=True)
class ArtifactWriter:
    """Writes artifact versions of one server.

    Attributes:
        locks: by collection, because the server numbers versions in the order of their commits.
        _gaps: collections of which a version did not arrive.
    """

    client: WandbClient
    context: Context
    uploader: Uploader
    locks: KeyedLocks
    multipart: Multipart
    _gaps: set[tuple[Namespace, str]] = field(default_factory=set)

    async def write(
        self,
        artifact: Artifact,
        entries: AsyncIterator[ArtifactEntry],
        read: Reader,
        namespace: Namespace,
        run_id: str,
        memos: RunMemos,
    ) -> Receipt:
        """Make a version with these entries, unless the collection has one of the same content.

        Args:
            memos: what is remembered of the run, for an upload that is interrupted.

        Raises:
            EngineError: it could not be committed; nothing of it is visible then.
        """
        subject = f"artifact {artifact.name}"
        name = names.artifact_name(artifact.name)
        # Before anything else, so that versions come in the order in which they were given; and holding
        # nothing that an earlier one may wait for.
        async with (
            self._in_order(artifact, (namespace, name)),
            Staging.open(self.context, self.uploader.lanes, self.multipart, subject) as staging,
        ):
            staged = await staging.collect(entries, read)
            sizes = [entry.size or 0 for entry in staged if entry.ref is None]
            content = self.announcement(artifact, name, namespace, run_id, staged)
            version = Version(
                client=self.client,
                context=self.context,
                uploader=self.uploader,
                namespace=namespace,
                run_id=run_id,
                subject=subject,
                entries=staged,
                multipart=self.multipart,
                unfinished=Unfinished.of(memos, content, sum(sizes), len(sizes)),
            )
            existed = await version.create(content)
            if not existed:
                await version.upload()
                await version.commit()
        if existed:
            return Receipt(items=1, skipped=True)
        return Receipt(items=1, files=len(sizes), bytes=sum(sizes))

    @asynccontextmanager
    async def _in_order(self, artifact: Artifact, collection: tuple[Namespace, str]) -> AsyncIterator[None]:
        """Wait for the earlier versions of a collection.

        Raises:
            Conflict: one of them did not arrive, so that this one would take its place.
        """
        async with self.locks.hold(collection):
            if collection in self._gaps and artifact.version is not None:
                raise Conflict(
                    f"version {artifact.version} waits for an earlier one, which did not arrive",
                    side=self.client.side,
                    subject=f"artifact {artifact.name}",
                    remedy="run the same command again: versions are numbered in the order of their arrival",
                )
            try:
                yield
            except Exception:
                self._gaps.add(collection)
                raise

    def announcement(
        self, artifact: Artifact, name: str, namespace: Namespace, run_id: str, entries: Sequence[Entry]
    ) -> dict[str, Json]:
        """The input of ``createArtifact``; what the server does not take is recorded as a loss."""
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
