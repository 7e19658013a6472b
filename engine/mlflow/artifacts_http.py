"""Artifacts that a server hands out: listings as trees, downloads that go on where they broke."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import TypeAlias
from urllib.parse import quote, urlencode

import anyio

from engine.errors import CommError, EngineError, IntegrityError, NotFound, Side, Transient
from engine.http import HttpClient
from engine.mlflow.rest_api import TrackingApi
from engine.records import ArtifactEntry, Blob, Json
from engine.transfer.retry import DEFAULT_POLICY
from engine.transfer.throttle import Endpoint

RUN_LIST_PATH = "api/2.0/mlflow/artifacts/list"
PROXY_PATH = "api/2.0/mlflow-artifacts/artifacts"

PIECE = 1024 * 1024
"""Bytes in a piece at most."""

LISTINGS_IN_FLIGHT = 8
"""Directories of one tree that are listed at the same time, and held in memory."""

# MLflow's server undoes percent escapes and strips control characters until a name is another one.
_NOT_HANDED_OUT = (
    "it was listed: was it deleted meanwhile, or is its name one that the server cannot hand out? "
    "then read its store directly, with --artifact-root OLD=NEW"
)

Locate: TypeAlias = Callable[[], Awaitable[tuple[str, Mapping[str, str]]]]
"""Gives URL and headers of an object; asked before every attempt, because signatures expire."""

ListDirectory: TypeAlias = Callable[[str], Awaitable[list[ArtifactEntry | str]]]
"""From the path of a directory to its files, and the paths of the directories in it."""


async def walk(list_directory: ListDirectory) -> AsyncGenerator[ArtifactEntry]:
    """All files of a tree, the upper ones first, a few directories in memory at a time.

    Raises:
        EngineError: a directory could not be listed; raised after all that could.
    """
    todo: deque[str] = deque([""])
    failures: list[EngineError] = []
    while todo:
        now = [todo.popleft() for _ in range(min(len(todo), LISTINGS_IN_FLIGHT))]
        listed: dict[str, list[ArtifactEntry | str]] = {}

        async def list_one(directory: str, into: dict[str, list[ArtifactEntry | str]] = listed) -> None:
            try:
                into[directory] = await list_directory(directory)
            except EngineError as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            for directory in now:
                tasks.start_soon(list_one, directory)
        for directory in now:
            for found in listed.pop(directory, ()):
                if isinstance(found, str):
                    todo.append(found)
                else:
                    yield found
    if failures:
        raise failures[0]


class _Object:
    """An object that is being read, and how far."""

    def __init__(
        self, http: HttpClient, locate: Locate, *, offset: int, subject: str, anonymous: bool
    ) -> None:
        self._http = http
        self._locate = locate
        self._subject = subject
        self._anonymous = anonymous
        self._tag = ""
        self.position = offset

    async def attempt(self) -> AsyncGenerator[bytes]:
        """The bytes from ``position`` on, in one request."""
        url, headers = await self._locate()
        wanted = {**headers, "Accept-Encoding": "identity"}
        if self.position:
            wanted["Range"] = f"bytes={self.position}-"
        async with self._http.stream(
            url,
            endpoint=Endpoint.MLFLOW_ARTIFACTS,
            subject=self._subject,
            headers=wanted,
            anonymous=self._anonymous,
        ) as answer:
            tag = answer.headers.get("ETag", "")
            if self._tag and tag != self._tag:
                raise IntegrityError(
                    "the file changed while it was read", side=Side.SOURCE, subject=self._subject
                )
            self._tag = tag
            skip = 0 if answer.status == 206 else self.position
            async for chunk in answer.content.iter_chunked(PIECE):
                piece = chunk[skip:]
                skip -= len(chunk) - len(piece)
                if piece:
                    self.position += len(piece)
                    yield piece


async def download(
    http: HttpClient, locate: Locate, *, size: int | None, offset: int, subject: str, anonymous: bool = False
) -> AsyncGenerator[bytes]:
    """The bytes of an object from ``offset`` on.

    After a break it goes on by ``Range`` where the server honours that, else by skipping what it has.
    Servers before MLflow 3.15 do not, and send no length either: ``size`` tells what ended too early.

    Raises:
        IntegrityError: the length is not ``size``, or the object changed between two attempts.
        Transient: it broke too often without getting any further.
    """
    reading = _Object(http, locate, offset=offset, subject=subject, anonymous=anonymous)
    failures = 0
    while size is None or reading.position < size or reading.position == offset == 0:
        try:
            async with aclosing(reading.attempt()) as pieces:
                async for piece in pieces:
                    failures = 0
                    yield piece
            if size is None or reading.position >= size:
                break
            raise Transient(
                f"the download ended at byte {reading.position} of {size}", side=Side.SOURCE, subject=subject
            )
        except NotFound as error:
            error.remedy = _NOT_HANDED_OUT
            raise
        except Transient as error:
            failures += error.counts
            if failures >= DEFAULT_POLICY.attempts:
                raise
            backoff = min(DEFAULT_POLICY.cap_s, DEFAULT_POLICY.base_s * 2**failures)
            await anyio.sleep(max(error.retry_after_s or 0.0, random.uniform(0, backoff)))
    if size is not None and reading.position > max(size, offset):
        raise IntegrityError(
            f"the file has {reading.position} bytes and was listed with {size}",
            side=Side.SOURCE,
            subject=subject,
        )


class ProxyArtifacts:
    """What a server keeps for ``mlflow-artifacts:`` URIs, by path.

    Args:
        api: the server that keeps them.
        root: path of the root within the store.
    """

    def __init__(self, api: TrackingApi, root: str) -> None:
        self._api = api
        self._root = root.strip("/")

    def entries(self) -> AsyncGenerator[ArtifactEntry]:
        return walk(self._list)

    async def _list(self, directory: str) -> list[ArtifactEntry | str]:
        path = _join(self._root, directory)
        answer = await self._api.get(PROXY_PATH, {"path": path}, subject=f"artifacts in {path!r}")
        # The proxy tells bare names.
        return [_found(_join(directory, file["path"]), file) for file in answer.get("files", ())]

    def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        path = _join(self._root, blob.locator)

        async def locate() -> tuple[str, Mapping[str, str]]:
            return f"{self._api.url}/{PROXY_PATH}/{quote(path)}", await self._api.headers(PROXY_PATH)

        return download(self._api.http, locate, size=blob.size, offset=offset, subject=f"artifact {path!r}")


class ListedByRun:
    """Artifacts that a server lists by their run; how their bytes are read is left to subclasses."""

    def __init__(self, api: TrackingApi, run_id: str) -> None:
        self._api = api
        self._run_id = run_id

    def entries(self) -> AsyncGenerator[ArtifactEntry]:
        return walk(partial(_list_run_artifacts, self._api, self._run_id))


class RunArtifacts(ListedByRun):
    """The artifacts of a run wherever its root is, through a server that can reach it."""

    def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        query = urlencode({"run_id": self._run_id, "path": blob.locator}, quote_via=quote)

        async def locate() -> tuple[str, Mapping[str, str]]:
            return f"{self._api.url}/get-artifact?{query}", await self._api.headers("get-artifact")

        subject = f"artifact {blob.locator!r} of run {self._run_id}"
        return download(self._api.http, locate, size=blob.size, offset=offset, subject=subject)


async def _list_run_artifacts(api: TrackingApi, run_id: str, directory: str) -> list[ArtifactEntry | str]:
    """One directory of a run's artifacts; Databricks pages the answer, MLflow's own server does not."""
    subject = f"artifacts of run {run_id}" + (f" in {directory!r}" if directory else "")
    found: list[ArtifactEntry | str] = []
    token = ""
    while True:
        query = {"run_id": run_id}
        if directory:
            query["path"] = directory
        if token:
            query["page_token"] = token
        answer = await api.get(RUN_LIST_PATH, query, subject=subject)
        for file in answer.get("files", ()):
            path = file["path"]
            if directory and not path.startswith(f"{directory}/"):
                raise CommError(
                    f"the listing has {path!r}, which is elsewhere", side=Side.SOURCE, subject=subject
                )
            found.append(_found(path, file))
        previous, token = token, answer.get("next_page_token") or ""
        if not token or token == previous:
            return found


def _found(path: str, file: Mapping[str, Json]) -> ArtifactEntry | str:
    if file.get("is_dir"):
        return path
    # Protobuf's JSON omits zero: a file without a size is empty.
    return ArtifactEntry(path=path, size=int(file.get("file_size", 0)), locator=path)


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory and name else directory or name
