"""Run files: names for URLs, then the bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from engine.errors import CommError, IntegrityError, Side
from engine.protocols import Reader
from engine.records import Namespace, Receipt, RunFile
from engine.transfer.context import Context
from engine.wandb import documents
from engine.wandb.client import WandbClient
from engine.wandb.fanout import for_each
from engine.wandb.names import is_safe_path
from engine.wandb.uploads import AtSource, InMemory, OnDisk, Payload, put

METADATA = "wandb-metadata.json"
BATCH = 200
"""Files whose URLs are asked for in one request."""


@dataclass(frozen=True, slots=True)
class _Upload:
    name: str
    size: int
    payload: Payload
    ours: bool = False
    """Not from the source, so no progress."""


@dataclass(slots=True)
class FileUploads:
    """Puts the files of one run; ``metadata`` is written too unless the source has one of its own."""

    client: WandbClient
    context: Context
    namespace: Namespace
    run_id: str
    subject: str
    metadata: bytes
    uploaded: list[str] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)

    async def write(self, files: AsyncIterator[RunFile], read: Reader) -> Receipt:
        """Put all files; each name once.

        Raises:
            EngineError: a file did not arrive.
        """
        count = moved = 0
        batch: list[_Upload] = []
        async for file in files:
            if (upload := self._accepted(file, read)) is None:
                continue
            batch.append(upload)
            count, moved = count + 1, moved + upload.size
            if len(batch) == BATCH:
                await self._put_all(batch)
                batch = []
        await self._put_all(batch + self._missing_metadata())
        return Receipt(items=count, files=count, bytes=moved)

    async def complete(self) -> None:
        """Put what every run has, if nobody wrote files before."""
        await self._put_all(self._missing_metadata())

    def _missing_metadata(self) -> list[_Upload]:
        if METADATA in self._names:
            return []
        self._names.add(METADATA)
        return [_Upload(METADATA, len(self.metadata), InMemory(self.metadata), ours=True)]

    def _accepted(self, file: RunFile, read: Reader) -> _Upload | None:
        if not is_safe_path(file.path) or file.path in self._names:
            why = "a file of that name came before" if file.path in self._names else "it leaves its directory"
            self.context.lose("path_refused", self.subject, f"file {file.path!r}: {why}")
            return None
        self._names.add(file.path)
        payload: Payload = AtSource(file, read)
        size = file.size
        if file.local_path is not None:
            payload, size = OnDisk(file.local_path), file.local_path.stat().st_size
        if size is None:
            raise IntegrityError(
                "the source does not tell the size of a file", side=Side.SOURCE, subject=file.path
            )
        return _Upload(file.path, size, payload)

    async def _put_all(self, uploads: list[_Upload]) -> None:
        if not uploads:
            return
        data = await self.client.graphql(
            documents.CREATE_RUN_FILES,
            {
                "entity": self.namespace.entity,
                "project": self.namespace.project,
                "run": self.run_id,
                "files": [upload.name for upload in uploads],
            },
            f"files of {self.subject}",
        )
        created = data["createRunFiles"]
        urls = {file["name"]: file["uploadUrl"] for file in created["files"]}
        headers = created["uploadHeaders"] or []

        async def one(upload: _Upload) -> None:
            url = urls.get(upload.name)
            if url is None:
                raise CommError("the server gave no upload URL", side=self.client.side, subject=upload.name)
            await put(
                self.client.http,
                self.client.absolute(url),
                headers,
                upload.payload,
                size=upload.size,
                subject=f"file {upload.name} of {self.subject}",
            )
            self.uploaded.append(upload.name)
            if not upload.ours:
                self.context.counters.files += 1
                self.context.counters.bytes += upload.size

        await for_each(uploads, one, limit=self.context.concurrency)
