"""MLflow as a Databricks workspace offers it.

The REST API of ``engine.mlflow.rest`` without its undocumented parts, under published quotas, with artifacts
behind signed URLs. Not tried against a live workspace: the tests speak to a local server that answers
in the forms that Databricks documents.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio

from engine.errors import CommError, NotFound, Side, Unsupported
from engine.http import HttpClient
from engine.mlflow.artifacts import local_path
from engine.mlflow.artifacts_http import ListedByRun, download, walk
from engine.mlflow.databricks_auth import Credentials, Workspace, workspace_of
from engine.mlflow.rest import Dialect, RestStore
from engine.mlflow.rest_api import TrackingApi, classify
from engine.mlflow.rest_auth import Access
from engine.mlflow.rest_listing import EXPERIMENTS_PATH
from engine.mlflow.store import ArtifactRepository, Store
from engine.protocols import SystemOptions
from engine.records import ArtifactEntry, Blob, SystemInfo

if TYPE_CHECKING:
    from engine.transfer.context import Context

DATABRICKS = Dialect(
    bulk_history=False,
    offset_tokens=False,
    find_by_id=False,
    experiment_order=(),
    run_order=("attributes.start_time ASC",),
    ui="#mlflow",
)

SEARCHES_PER_S = 7.0
OTHERS_PER_S = 127.0
"""Published quotas of a workspace, in requests per second."""

SHARE = 0.7
"""How much of a quota is used: others work there too."""

CREDENTIALS_PATH = "api/2.0/mlflow/artifacts/credentials-for-read"
DIRECTORIES_PATH = "api/2.0/fs/directories"
FILES_PATH = "api/2.0/fs/files"


def open_databricks_store(uri: str, options: SystemOptions) -> Store:
    """The store behind ``databricks`` or ``databricks://profile``, not yet connected.

    Raises:
        ConfigError: host or credentials cannot be found; see ``databricks_auth.workspace_of``.
    """
    return DatabricksStore(workspace_of(uri, options.api_key), options)


class DatabricksStore(RestStore):
    """The experiments of one workspace."""

    def __init__(self, workspace: Workspace, options: SystemOptions) -> None:
        super().__init__(Access(url=workspace.host), options, DATABRICKS)
        self._place = workspace

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        async with HttpClient(Side.SOURCE, context, classify=classify) as http:
            credentials = Credentials(self._place, http)
            searches, others = _Pace(SEARCHES_PER_S * SHARE), _Pace(OTHERS_PER_S * SHARE)

            async def prepare(path: str) -> Mapping[str, str]:
                await (searches if path.endswith("/search") else others).turn()
                return await credentials.headers()

            api = TrackingApi(http, self._place.host, prepare)
            async with self._serve(api, context, artifacts_by_server=False):
                answer = await api.post(EXPERIMENTS_PATH, {"max_results": 1}, subject=self.uri)
                if answer and not answer.keys() & {"experiments", "next_page_token"}:
                    raise api.not_mlflow(EXPERIMENTS_PATH, None)
                yield SystemInfo(uri=self.uri, product="Databricks", identity=self._place.client_id)

    def artifacts(self, run_id: str, artifact_uri: str) -> ArtifactRepository:
        uri = self._roots.rewritten(artifact_uri)
        if local_path(uri) is None:
            path = uri.removeprefix("dbfs:")
            if path.startswith("/databricks/mlflow"):
                return SignedArtifacts(self._api, run_id)
            if path.startswith("/Volumes/"):
                return VolumeArtifacts(self._api, path)
            if path != uri:
                raise Unsupported(
                    "artifacts in this part of DBFS cannot be read",
                    side=Side.SOURCE,
                    subject=uri,
                    remedy="copy them to a disk and name it with --artifact-root OLD=NEW",
                )
        return super().artifacts(run_id, uri)


class _Pace:
    """Lets so many pass in a second, evenly."""

    def __init__(self, per_s: float) -> None:
        self._interval = 1.0 / per_s
        self._next = 0.0

    async def turn(self) -> None:
        now = time.monotonic()
        turn = max(now, self._next)
        self._next = turn + self._interval
        await anyio.sleep(turn - now)


class SignedArtifacts(ListedByRun):
    """Artifacts of a run that Databricks manages: listed by the run, read from signed URLs of the cloud."""

    def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        subject = f"artifact {blob.locator!r} of run {self._run_id}"

        async def locate() -> tuple[str, Mapping[str, str]]:
            # Asked for anew before every attempt, because a signature lives for minutes.
            answer = await self._api.post(
                CREDENTIALS_PATH, {"run_id": self._run_id, "path": [blob.locator]}, subject=subject
            )
            for one in answer.get("credential_infos", ()):
                if one.get("path", blob.locator) == blob.locator:
                    headers = {header["name"]: header["value"] for header in one.get("headers", ())}
                    return one["signed_uri"], headers
            raise CommError("the workspace gave no credentials for it", side=Side.SOURCE, subject=subject)

        return download(
            self._api.http, locate, size=blob.size, offset=offset, subject=subject, anonymous=True
        )


class VolumeArtifacts:
    """Artifacts in a Unity Catalog volume, through the Files API.

    Args:
        root: absolute path, ``/Volumes/<catalog>/<schema>/<volume>/…``.
    """

    def __init__(self, api: TrackingApi, root: str) -> None:
        self._api = api
        self._root = root.rstrip("/")

    def entries(self) -> AsyncGenerator[ArtifactEntry]:
        return walk(self._list)

    async def _list(self, directory: str) -> list[ArtifactEntry | str]:
        full = f"{self._root}/{directory}" if directory else self._root
        found: list[ArtifactEntry | str] = []
        token = ""
        while True:
            path = f"{DIRECTORIES_PATH}{quote(full)}" + (
                f"?page_token={quote(token, safe='')}" if token else ""
            )
            try:
                answer = await self._api.get(path, subject=full)
            except NotFound:
                if directory:
                    raise
                # The directory is made with the first artifact.
                return []
            for entry in answer.get("contents", ()):
                name = f"{directory}/{entry['name']}" if directory else entry["name"]
                if entry.get("is_directory"):
                    found.append(name)
                else:
                    found.append(ArtifactEntry(path=name, size=int(entry.get("file_size", 0)), locator=name))
            token = answer.get("next_page_token") or ""
            if not token:
                return found

    def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        path = f"{FILES_PATH}{quote(f'{self._root}/{blob.locator}')}"

        async def locate() -> tuple[str, Mapping[str, str]]:
            return f"{self._api.url}/{path}", await self._api.headers(path)

        return download(
            self._api.http, locate, size=blob.size, offset=offset, subject=f"artifact {blob.locator!r}"
        )
