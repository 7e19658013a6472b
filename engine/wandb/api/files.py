"""Files of runs: listing, downloading, uploading."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from engine.errors import CommError, ConfigError, NotFound
from engine.records import Json, RunFile
from engine.records import Run as RunRecord
from engine.transfer.throttling.throttle import Endpoint
from engine.wandb import documents as writing
from engine.wandb.api import documents
from engine.wandb.api.asking import page_size
from engine.wandb.api.errors import raising_comm_errors
from engine.wandb.api.saving import is_there, place, save, taken
from engine.wandb.api.session import Session
from engine.wandb.api.times import utc
from engine.wandb.digests import md5_b64
from engine.wandb.reading.files import file_of, read_file
from engine.wandb.reading.pages import address, of_run, pages

PER_PAGE = 50


class File:
    """A file that was uploaded with a run.

    Attributes:
        name: its path in the run.
        size: bytes.
        md5: in base64, None if the server does not tell it.
        updated_at: ISO 8601 with a zone.
        url: where the server gives the bytes to whoever shows a key.
        direct_url: where it gives them to anybody, for a while.
    """

    def __init__(self, session: Session, run: RunRecord, node: Mapping[str, Json], project: Json) -> None:
        self._session = session
        self._node = node
        self._project = project
        self._run_id = run.id
        self._blob: RunFile = file_of(node, address(run))
        self.name: str = node["name"]
        self.size: int = int(node["sizeBytes"])
        self.md5: str | None = node.get("md5") or None
        self.mimetype: str | None = node.get("mimetype")
        self.updated_at: str | None = utc(node["updatedAt"]) if node.get("updatedAt") else None
        self.url: str | None = node.get("url")
        self.direct_url: str = node["directUrl"]

    @property
    def id(self) -> str:
        return str(self._node["id"])

    @raising_comm_errors
    async def download(
        self, root: str | Path = ".", *, replace: bool = False, exist_ok: bool = False
    ) -> Path:
        """Put it under ``root`` by its name, checked against its size and MD5.

        Args:
            replace: write over a file that is there.
            exist_ok: a file that is there and is the same need not be fetched again.

        Raises:
            Conflict: another file is there.
            IntegrityError: what came is not what was announced.
        """
        target = place(Path(root), self.name)
        if not replace and await anyio.Path(target).exists():
            if exist_ok and await is_there(target, self.size, self.md5):
                return target
            raise taken(target)
        pieces = read_file(self._session.client, self._blob, 0)
        subject = f"file {self.name} of run {self._run_id}"
        return await save(pieces, target, size=self.size, md5=self.md5, subject=subject)

    @raising_comm_errors
    async def read(self) -> bytes:
        """All of it, into memory."""
        content = bytearray()
        async with aclosing(read_file(self._session.client, self._blob, 0)) as pieces:
            async for piece in pieces:
                content += piece
        return bytes(content)

    @raising_comm_errors
    async def delete(self) -> None:
        """Remove it from the server."""
        variables = {"files": [self.id], "projectId": None if self._project is None else int(self._project)}
        await self._session.client.graphql(documents.DELETE_FILES, variables, f"file {self.name}")

    def __repr__(self) -> str:
        return f"<File {self.name} ({self.size} bytes)>"


class FileRequest:
    """A file by its name: await it for what the server says of it, or download it right away."""

    def __init__(self, session: Session, run: RunRecord, name: str) -> None:
        self._session = session
        self._run = run
        self._name = name

    def __await__(self) -> Generator[Any, None, File]:
        return self._find().__await__()

    @raising_comm_errors
    async def _find(self) -> File:
        return await find_file(self._session, self._run, self._name)

    async def download(
        self, root: str | Path = ".", *, replace: bool = False, exist_ok: bool = False
    ) -> Path:
        """As ``File.download``; a file that is not there is an error."""
        return await (await self).download(root, replace=replace, exist_ok=exist_ok)


async def find_file(session: Session, run: RunRecord, name: str) -> File:
    """One file.

    Raises:
        NotFound: there is none of this name.
    """
    async with aclosing(list_files(session, run, [name], None, 1)) as files:
        async for file in files:
            if file.name == name:
                return file
    raise NotFound(
        "the run has no such file", side=session.client.side, subject=f"file {name} of run {run.id}"
    )


async def list_files(
    session: Session, run: RunRecord, names: Sequence[str] | None, pattern: str | None, per_page: int
) -> AsyncGenerator[File]:
    """The files of these names or of this SQL ``LIKE`` pattern, or all.

    Raises:
        ConfigError: what is asked for makes no sense.
    """
    if names and pattern:
        raise ConfigError("files are chosen by names or by a pattern, not by both")
    if isinstance(names, str) or not all(isinstance(name, str) for name in names or ()):
        raise ConfigError(f"names must be a list of texts, not {names!r}", remedy='for example ["model.h5"]')
    subject, client = f"files of run {run.id}", session.client
    variables = {
        **address(run),
        "perPage": page_size(per_page),
        "names": list(names or ()),
        "pattern": pattern,
    }
    found: list[Mapping[str, Json]] = []

    def connection(data: Json) -> Mapping[str, Json]:
        found[:] = [of_run(data, subject, client)]
        files: Mapping[str, Json] = found[0]["files"]
        return files

    async with aclosing(pages(client, documents.FILES, variables, connection, subject)) as listed:
        async for page in listed:
            for node in page:
                # Of a name that it does not have, the server tells as of an empty file, but without a time.
                if node.get("updatedAt"):
                    yield File(session, run, node, found[0].get("projectId"))


async def upload_file(session: Session, run: RunRecord, path: Path, root: Path) -> File:
    """Upload a file, tell the server that it is there, and see that it is.

    Raises:
        ConfigError: it is not below ``root``.
        CommError: the server does not have it afterwards.
    """
    name = await anyio.to_thread.run_sync(_name_of, path, root)
    client, subject = session.client, f"file {name} of run {run.id}"
    # Small files are meant, as in the guide; a transfer has the means for large ones.
    content = await anyio.Path(path).read_bytes()
    data = await client.graphql(writing.CREATE_RUN_FILES, {**address(run), "files": [name]}, subject)
    created = data["createRunFiles"]
    url = next((file["uploadUrl"] for file in created["files"] if file["name"] == name), None)
    if url is None:
        raise CommError("the server gave no upload URL", side=client.side, subject=subject)
    headers = dict(header.split(":", 1) for header in created["uploadHeaders"] or ())
    await client.http.request(
        "PUT",
        client.absolute(url),
        endpoint=Endpoint.OBJECTS,
        subject=subject,
        headers={**headers, "Content-Length": str(len(content))},
        body=content,
        anonymous=True,
    )
    await client.graphql(documents.MARK_UPLOADED, {**address(run), "files": [name]}, subject)
    uploaded = await find_file(session, run, name)
    if uploaded.size != len(content) or uploaded.md5 not in (None, md5_b64(content)):
        raise CommError("the server has other bytes than were sent", side=client.side, subject=subject)
    return uploaded


def _name_of(path: Path, root: Path) -> str:
    full, base = path.resolve(), root.resolve()
    if not full.is_file():
        raise ConfigError(f"{path} is no file")
    if not full.is_relative_to(base):
        raise ConfigError(f"{path} is not below {root}", remedy="give a directory above it as root")
    return full.relative_to(base).as_posix()
