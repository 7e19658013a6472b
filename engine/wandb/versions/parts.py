"""A large file on its way in parts, several at a time.

createArtifactFiles: upload id, a URL for each part ─ PUT … ─ completeMultipartUploadArtifact
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from engine.errors import CommError, IntegrityError, RateLimited, Transient
from engine.fanout import for_each
from engine.records import Json
from engine.transfer.throttling.retry import retrying
from engine.wandb import documents
from engine.wandb.digests import b64
from engine.wandb.uploads.sending import REFUSALS
from engine.wandb.uploads.uploader import Uploader
from engine.wandb.versions.manifest import Entry
from engine.wandb.versions.unfinished import Unfinished

PARTS = 8
"""Parts of one file that are sent at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsUpload:
    """One file.

    Attributes:
        node: what ``createArtifactFiles`` answered.
        part_size: bytes of a part; the last one may be shorter.
        artifact_id: the version that the bytes are stored under.
        subject: the file, for errors.
        is_stored: asks the server whether it has the whole file.
    """

    uploader: Uploader
    unfinished: Unfinished
    entry: Entry
    node: Mapping[str, Json]
    part_size: int
    artifact_id: str
    subject: str
    is_stored: Callable[[], Awaitable[bool]]

    async def send(self) -> None:
        """Send the parts that are not there yet, and have them joined.

        Raises:
            EngineError: a part did not arrive; its subject names it.
        """
        upload, urls = self._signed()
        tags = dict(await self.unfinished.parts(upload))

        async def one(part: tuple[int, Json]) -> None:
            number, signed = part
            tags[number] = await self._send_part(number, signed["uploadUrl"])
            await self.unfinished.acknowledged(upload, number, tags[number])

        missing = [(number, signed) for number, signed in enumerate(urls, 1) if number not in tags]
        await for_each(missing, one, limit=PARTS)
        await self._complete(
            upload,
            [
                {"partNumber": signed["partNumber"], "hexMD5": tags[number]}
                for number, signed in enumerate(urls, 1)
            ],
        )

    def _signed(self) -> tuple[str, list[Json]]:
        urls = self.node["uploadMultipartUrls"]
        parts: list[Json] = urls["uploadUrlParts"]
        if len(parts) != len(self.entry.parts):
            raise IntegrityError(
                f"asked for {len(self.entry.parts)} URLs of parts, got {len(parts)}",
                side=self.uploader.client.side,
                subject=self.subject,
            )
        return urls["uploadID"], parts

    async def _send_part(self, number: int, url: str) -> str:
        """The part's ETag."""
        payload, size = self.entry.payload, self.entry.size
        assert payload is not None
        assert size is not None
        md5 = b64(bytes.fromhex(self.entry.parts[number - 1]))
        offset = (number - 1) * self.part_size
        subject = f"part {number} of {self.subject}"
        types = [
            header
            for header in self.node["uploadHeaders"] or ()
            if header.lower().startswith("content-type:")
        ]

        async def put() -> str:
            async with self.uploader.streaming():
                answer = await self.uploader.put(
                    url,
                    [f"Content-MD5:{md5}", *types],
                    payload,
                    size=min(self.part_size, size - offset),
                    offset=offset,
                    subject=subject,
                    md5=md5,
                )
            tag = answer.headers.get("ETag")
            if tag is None:
                raise CommError(
                    "the object store gave no ETag", side=self.uploader.client.side, subject=subject
                )
            return tag

        try:
            return await put()
        except REFUSALS as error:
            if error.status is None:
                raise
            # The same URL again: a new one would belong to a new upload, and all other parts with it.
            return await put()

    async def _complete(self, upload: str, parts: list[Json]) -> None:
        """Have the parts joined, once: the server forgets the upload when it is done."""

        async def attempt() -> None:
            try:
                await self.uploader.client.graphql(
                    documents.COMPLETE_MULTIPART,
                    {
                        "artifactID": self.artifact_id,
                        "storagePath": self.node["storagePath"],
                        "uploadID": upload,
                        "parts": parts,
                    },
                    self.subject,
                    retry=False,
                )
            except RateLimited:
                raise
            except Transient:
                # It may have been carried out, and only the answer lost.
                if not await self.is_stored():
                    raise

        await retrying(attempt)
