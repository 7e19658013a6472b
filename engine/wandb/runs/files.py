"""Run files: names for URLs, then the bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from engine.errors import CommError, IntegrityError, Side
from engine.protocols import Reader
from engine.records import Json, Namespace, Receipt, RunFile
from engine.transfer.context import Context
from engine.wandb import documents
from engine.wandb.digests import md5_b64
from engine.wandb.names import is_safe_path
from engine.wandb.uploads.payloads import AtSource, InMemory, OnDisk, Payload, unreadable
from engine.wandb.uploads.sending import Sending
from engine.wandb.uploads.uploader import Uploader

METADATA = "wandb-metadata.json"
BATCH = 200
"""Files whose URLs are asked for in one request."""

WINDOW = 10 * BATCH
"""Files that are known at the same time; a run may have any number."""


@dataclass(frozen=True, slots=True)
class _Upload:
    name: str
    size: int
    payload: Payload
    md5: str | None = None
    ours: bool = False
    """Not from the source, so no progress."""


@dataclass(slots=True)
class FileUploads:
    """Puts the files of one run; ``metadata`` is written too unless the source has one of its own."""

    uploader: Uploader
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
        window: list[_Upload] = []
        async for file in files:
            if (upload := self._accepted(file, read)) is None:
                continue
            window.append(upload)
            count, moved = count + 1, moved + upload.size
            if len(window) == WINDOW:
                await self._put_all(window)
                window = []
        await self._put_all(window + self._missing_metadata())
        return Receipt(items=count, files=count, bytes=moved, note={})

    def resume(self) -> None:
        """All files are there already, ``metadata`` among them."""
        self._names.add(METADATA)

    async def complete(self) -> None:
        """Put what every run has, if nobody wrote files before."""
        await self._put_all(self._missing_metadata())

    def _missing_metadata(self) -> list[_Upload]:
        if METADATA in self._names:
            return []
        self._names.add(METADATA)
        content = self.metadata
        return [_Upload(METADATA, len(content), InMemory(content), md5_b64(content), ours=True)]

    def _accepted(self, file: RunFile, read: Reader) -> _Upload | None:
        if not is_safe_path(file.path) or file.path in self._names:
            why = "a file of that name came before" if file.path in self._names else "it leaves its directory"
            self.context.lose("path_refused", self.subject, f"file {file.path!r}: {why}")
            return None
        self._names.add(file.path)
        payload: Payload = AtSource(file, read)
        size = file.size
        if file.local_path is not None:
            try:
                payload, size = OnDisk(str(file.local_path)), file.local_path.stat().st_size
            except OSError as error:
                raise unreadable(str(file.local_path), error) from error
        if size is None:
            raise IntegrityError(
                "the source does not tell the size of a file", side=Side.SOURCE, subject=file.path
            )
        return _Upload(file.path, size, payload, file.md5)

    async def _put_all(self, uploads: list[_Upload]) -> None:
        if not uploads:
            return
        sending = Sending(
            lanes=self.uploader.lanes,
            sign=self._sign,
            send=self._put,
            send_large=self._put_streamed,
            batch=BATCH,
        )
        await sending.all(uploads)

    async def _sign(self, batch: Sequence[_Upload]) -> list[tuple[str, Sequence[str]]]:
        """URL and headers of each file."""
        client = self.uploader.client
        data = await client.graphql(
            documents.CREATE_RUN_FILES,
            {
                "entity": self.namespace.entity,
                "project": self.namespace.project,
                "run": self.run_id,
                "files": [upload.name for upload in batch],
            },
            f"files of {self.subject}",
        )
        created: Mapping[str, Json] = data["createRunFiles"]
        urls = {file["name"]: file["uploadUrl"] for file in created["files"]}
        for upload in batch:
            if urls.get(upload.name) is None:
                raise CommError("the server gave no upload URL", side=client.side, subject=upload.name)
        return [(urls[upload.name], created["uploadHeaders"] or ()) for upload in batch]

    async def _put(self, upload: _Upload, target: tuple[str, Sequence[str]], payload: Payload) -> None:
        await self.uploader.put(
            *target, payload, size=upload.size, subject=self._named(upload), md5=upload.md5
        )
        self._sent(upload)

    async def _put_streamed(self, upload: _Upload, target: tuple[str, Sequence[str]]) -> None:
        async with self.uploader.streaming():
            await self._put(upload, target, upload.payload)

    def _named(self, upload: _Upload) -> str:
        return f"file {upload.name} of {self.subject}"

    def _sent(self, upload: _Upload) -> None:
        self.uploaded.append(upload.name)
        if not upload.ours:
            self.context.counters.files += 1
            self.context.counters.bytes += upload.size
