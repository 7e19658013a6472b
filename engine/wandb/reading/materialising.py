"""References whose bytes are fetched from where they point to, so that they arrive as files.

A reference is looked at before its version goes anywhere: one that cannot be had, or does not hold what was
referred to any more, stays a reference, and is told with its cause. What is fetched must be what W&B noted of
it: an ETag of an object, the MD5 of a local file. An ``http`` reference of which nothing was noted is taken
as it is now; a local file of which nothing was noted is not taken, as any file could be meant.

Hosts of references are strangers: a silent one is given up after seconds, and never stops a transfer.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit
from urllib.request import url2pathname

import anyio
import anyio.to_thread
import orjson
from pyarrow import fs

from engine.downloads import PIECE, download
from engine.errors import EngineError, IntegrityError, NotFound, Side, Transient, Unsupported
from engine.http import HttpClient
from engine.records import ArtifactEntry, Blob, Json
from engine.transfer.context import Context
from engine.transfer.throttling.retry import RetryPolicy, retrying
from engine.transfer.throttling.throttle import Endpoint, Throttles
from engine.wandb.artifact_uris import SCHEME
from engine.wandb.digests import b64
from engine.wandb.jsontext import without_passwords

KIND: Final = "reference"
"""Marks the locators of what was a reference."""

TOGETHER = 16
"""References that are looked at at the same time."""

PATIENCE_S = 5.0
SILENCE_S = 20.0
POLICY: Final = RetryPolicy(attempts=3)

_REMEDY: Final = "http, https, s3 and file can be fetched; bring others by hand, or keep them as references"


@dataclass(frozen=True, slots=True)
class Materialiser:
    """Fetches references; ``open`` makes one."""

    http: HttpClient
    context: Context
    side: Side

    @classmethod
    @asynccontextmanager
    async def open(cls, context: Context, side: Side) -> AsyncGenerator[Self]:
        throttles = Throttles(context.concurrency, None, PATIENCE_S)
        strangers = replace(context, throttles=throttles)
        async with HttpClient(side, strangers, policy=POLICY, read_timeout_s=SILENCE_S) as http:
            yield cls(http, context, side)

    async def entries(
        self, entries: AsyncIterator[ArtifactEntry], subject: str
    ) -> AsyncGenerator[ArtifactEntry]:
        """The same entries; references that can be fetched as the files that they refer to."""
        some: list[ArtifactEntry] = []
        async for entry in entries:
            if entry.ref is None or entry.ref.startswith(SCHEME):
                yield entry
                continue
            some.append(entry)
            if len(some) == TOGETHER:
                for found in await self._looked_at(some, subject):
                    yield found
                some.clear()
        for found in await self._looked_at(some, subject):
            yield found

    async def _looked_at(self, entries: list[ArtifactEntry], subject: str) -> list[ArtifactEntry]:
        found = list(entries)

        async def look(position: int, entry: ArtifactEntry) -> None:
            assert entry.ref is not None
            try:
                found[position] = await self._file(entry, entry.ref)
            except EngineError as error:
                ref = without_passwords(entry.ref)
                why = f"{entry.path!r} stays a reference to {ref}: {error.message}"
                self.context.lose("reference_kept", subject, why)

        async with anyio.create_task_group() as group:
            for position, entry in enumerate(entries):
                group.start_soon(look, position, entry)
        return found

    async def _file(self, entry: ArtifactEntry, ref: str) -> ArtifactEntry:
        """The file that an entry refers to.

        Raises:
            EngineError: it cannot be had, or is another one now.
        """
        md5 = None
        match urlsplit(ref).scheme:
            case "http" | "https":
                size = await self._look_at_page(entry, ref)
            case "s3":
                size = await anyio.to_thread.run_sync(self._look_at_object, entry, ref)
            case "file":
                size, md5 = await anyio.to_thread.run_sync(self._look_at_local, entry, ref)
            case scheme:
                raise Unsupported(f"nobody here can fetch {scheme}://", side=self.side, remedy=_REMEDY)
        locator = orjson.dumps([KIND, ref]).decode()
        return ArtifactEntry(path=entry.path, size=size, md5=md5, locator=locator)

    async def _look_at_page(self, entry: ArtifactEntry, ref: str) -> int | None:
        async def attempt() -> tuple[str | None, int | None]:
            stream = self.http.stream(ref, endpoint=Endpoint.OBJECTS, anonymous=True)
            async with stream as answer:
                # The length of what is compressed on its way is not that of the file.
                encoded = "Content-Encoding" in answer.headers
                return answer.headers.get("ETag"), None if encoded else answer.content_length

        tag, size = await retrying(attempt, POLICY)
        self._check_tag(entry, ref, tag)
        return size

    def _look_at_object(self, entry: ArtifactEntry, ref: str) -> int:
        with self._opened(ref) as stream:
            told: Mapping[bytes | str, bytes | str] = stream.metadata() or {}
            facts = {_text(name): _text(value) for name, value in told.items()}
            self._check_tag(entry, ref, facts.get("ETag"))
            return int(stream.size())

    def _opened(self, ref: str) -> Any:
        """A local file, or an object, with the credentials that this machine has for its store."""
        try:
            system, path = fs.FileSystem.from_uri(ref)
            return system.open_input_file(path)
        except FileNotFoundError as error:
            raise NotFound("it is not there", side=self.side, exc=error) from error
        except (OSError, ValueError) as error:
            raise Transient(f"it cannot be read: {error}", side=self.side, exc=error) from error

    def _check_tag(self, entry: ArtifactEntry, ref: str, tag: str | None) -> None:
        """Whether an object is still what was referred to.

        Raises:
            IntegrityError: it is not, or nobody can tell.
        """
        noted: Json = entry.extra.get("etag") or (entry.digest if entry.digest != ref else None)
        if noted is not None and _bare(str(noted)) != _bare(tag or ""):
            raise IntegrityError(
                f"it changed: its ETag was {_bare(str(noted))}, and is {_bare(tag or '') or 'none'} now",
                side=self.side,
            )

    def _look_at_local(self, entry: ArtifactEntry, ref: str) -> tuple[int, str]:
        path = Path(url2pathname(urlsplit(ref).path))
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
                size = file.tell()
        except OSError as error:
            raise NotFound(
                f"not on this machine: {error.strerror or error}", side=self.side, exc=error
            ) from error
        md5 = b64(digest)
        if entry.digest != md5:
            raise IntegrityError("the file is not the one that was referred to, by its MD5", side=self.side)
        return size, md5

    # -- bytes -----------------------------------------------------------------------------------

    def read(self, blob: Blob, offset: int) -> AsyncGenerator[bytes]:
        """The bytes of what ``entries`` told to be a file."""
        _, ref = orjson.loads(blob.locator)
        if urlsplit(ref).scheme in ("s3", "file"):
            return self._stream(blob, ref, offset)

        async def locate() -> tuple[str, Mapping[str, str]]:
            return ref, {}

        subject = f"reference {blob.path}"
        return download(
            self.http,
            locate,
            Endpoint.OBJECTS,
            size=blob.size,
            offset=offset,
            subject=subject,
            anonymous=True,
        )

    async def _stream(self, blob: Blob, ref: str, offset: int) -> AsyncGenerator[bytes]:
        stream = await anyio.to_thread.run_sync(self._opened, ref)
        try:
            await anyio.to_thread.run_sync(stream.seek, offset)
            while piece := await anyio.to_thread.run_sync(stream.read, PIECE):
                yield piece
        except OSError as error:
            raise Transient(f"it broke off: {error}", side=self.side, subject=blob.path, exc=error) from error
        finally:
            stream.close()


def _bare(tag: str) -> str:
    """An ETag without its quotes and without the mark of a weak one."""
    return tag.removeprefix("W/").strip('"')


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
