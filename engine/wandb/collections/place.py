"""Where the versions of one collection go, and how one is made there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from engine.errors import CommError, NotFound
from engine.records import Json, Namespace, RunRef
from engine.transfer.context import Context
from engine.transfer.ledger.memos import RunMemos
from engine.wandb import documents
from engine.wandb.client import WandbClient
from engine.wandb.digests import Multipart, artifact_digest
from engine.wandb.reading.collections import Holding, read_collection
from engine.wandb.uploads.uploader import Uploader
from engine.wandb.versions.manifest import Entry
from engine.wandb.versions.unfinished import Unfinished
from engine.wandb.versions.version import Version


@dataclass(frozen=True, slots=True)
class Made:
    """A version that the server committed."""

    id: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A collection at the destination, whether it is there already or not."""

    client: WandbClient
    context: Context
    uploader: Uploader
    multipart: Multipart
    memos: RunMemos
    namespace: Namespace
    name: str
    type: str

    @property
    def subject(self) -> str:
        return f"artifact {self.namespace}/{self.name}"

    async def holding(self) -> Holding | None:
        """What is there now."""
        return await read_collection(self.client, self.namespace, self.name)

    async def make(
        self, told: Mapping[str, Json], run_id: str, entries: Sequence[Entry], client_id: str
    ) -> Made:
        """Commit a version with these entries; it gets the next number of the collection.

        Args:
            told: what ``createArtifact`` is told besides what follows from the rest.
            client_id: names this version, so that an attempt that was cut off is gone on with. 128
                lower-case letters and digits.

        Raises:
            EngineError: it could not be committed; nothing of it is visible then.
        """
        sizes = [entry.size or 0 for entry in entries if entry.ref is None]
        content: dict[str, Json] = {
            "entityName": self.namespace.entity,
            "projectName": self.namespace.project,
            "artifactTypeName": self.type,
            "artifactCollectionName": self.name,
            "runName": run_id,
            "digest": artifact_digest((entry.path, entry.digest) for entry in entries),
            "digestAlgorithm": "MANIFEST_MD5",
            # Two versions of one content, with another between them, are two versions.
            "enableDigestDeduplication": False,
            "aliases": [],
            "clientID": client_id,
            "sequenceClientID": client_id_of(client_id, "sequence"),
            **told,
        }
        version = Version(
            client=self.client,
            context=self.context,
            uploader=self.uploader,
            namespace=self.namespace,
            run_id=run_id,
            subject=self.subject,
            entries=entries,
            multipart=self.multipart,
            unfinished=Unfinished.of(self.memos, content, sum(sizes), len(sizes)),
        )
        if not await version.create(content):
            if sizes:
                await version.upload()
            await version.commit()
        if version.number is None:
            raise CommError(
                "the server does not tell which number a version got",
                side=self.client.side,
                subject=self.subject,
            )
        return Made(version.id, version.number)

    async def delete(self, version_id: str) -> None:
        """Take back a version of our own; its number stays used."""
        # An answer that was lost does not undo what was done.
        with suppress(NotFound):
            await self.client.graphql(documents.DELETE_ARTIFACT, {"id": version_id}, self.subject)

    def qualified(self, run: RunRef) -> dict[str, Json]:
        """A run of the destination as mutations name it."""
        return {
            "entityName": run.namespace.entity,
            "projectName": run.namespace.project,
            "runName": run.id,
        }


def client_id_of(*parts: str) -> str:
    """A client id that depends on nothing but ``parts``; like those of W&B's client, 128 characters."""
    return hashlib.sha512("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
