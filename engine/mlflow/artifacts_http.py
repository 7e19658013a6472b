"""Artifacts that a server hands out: listings as trees, downloads that go on where they broke."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import TypeAlias
from urllib.parse import quote, urlencode

import anyio

from engine import downloads
from engine.downloads import Locate
from engine.errors import CommError, EngineError, NotFound, Side
from engine.http import HttpClient
from engine.mlflow.rest_api import TrackingApi
from engine.records import ArtifactEntry, Blob, Json
from engine.transfer.throttling.throttle import Endpoint

RUN_LIST_PATH = "api/2.0/mlflow/artifacts/list"
PROXY_PATH = "api/2.0/mlflow-artifacts/artifacts"

LISTINGS_IN_FLIGHT = 8
"""Directories of one tree that are listed at the same time, and held in memory."""

# MLflow's server undoes percent escapes and strips control characters until a name is another one.
_NOT_HANDED_OUT = (
    "it was listed: was it deleted meanwhile, or is its name one that the server cannot hand out? "
    "then read its store directly, with --artifact-root OLD=NEW"
)

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


async def download(
    http: HttpClient,
    locate: Locate,
    *,
    size: int | None,
    offset: int,
    subject: str,
    anonymous: bool = False,
    ranges: bool = True,
) -> AsyncGenerator[bytes]:
    """The bytes of an object from ``offset`` on, as ``engine.downloads`` reads them.

    Servers before MLflow 3.15 honour no ``Range`` and send no length: ``size`` tells what ended too early.
    """
    pieces = downloads.download(
        http,
        locate,
        Endpoint.MLFLOW_ARTIFACTS,
        size=size,
        offset=offset,
        subject=subject,
        anonymous=anonymous,
        ranges=ranges,
    )
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
    except NotFound as error:
        error.remedy = _NOT_HANDED_OUT
        raise


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
        # Servers may fetch the whole file from a remote store for each request.
        return download(self._api.http, locate, size=blob.size, offset=offset, subject=subject, ranges=False)


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
