"""Which way leads to an artifact root.

The URI of the root decides, as in MLflow, except that everything that this machine cannot open itself goes
through the tracking server, which has the credentials of its store.

| root | read through |
|---|---|
| a path or ``file:`` URI that is there | the disk |
| a path or ``file:`` URI that is not | the tracking server, which may see it; else ``LocalArtifacts`` |
| ``mlflow-artifacts:`` | the tracking server's proxy |
| ``mlflow-artifacts://host``, ``http(s)://host/…/mlflow-artifacts/artifacts/…`` | the proxy of that host |
| any other | the tracking server's ``get-artifact`` |
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import url2pathname

from yarl import URL

from engine.errors import Side, Unsupported
from engine.http import HttpClient
from engine.mlflow.artifacts_http import PROXY_PATH, ProxyArtifacts, RunArtifacts
from engine.mlflow.artifacts_local import LocalArtifacts
from engine.mlflow.rest_api import TrackingApi, classify

if TYPE_CHECKING:
    from engine.mlflow.store import ArtifactRepository
    from engine.transfer.context import Context

_PROXY_MARK = f"/{PROXY_PATH}"


class ArtifactRoots:
    """Opens artifact roots; made by ``open_artifact_roots``.

    Args:
        rewrites: prefixes of artifact URIs to replace, for moved stores; the longest that fits counts.
        base: what relative paths are relative to.
        server: the tracking server, if runs come from one.
        elsewhere: a client without credentials, for hosts that they were not given for: a run may name any.
    """

    def __init__(
        self,
        context: Context,
        rewrites: Mapping[str, str],
        *,
        base: Path | None,
        server: TrackingApi | None,
        elsewhere: HttpClient,
    ) -> None:
        self._context = context
        self._rewrites = rewrites
        self._base = base or Path.cwd()
        self._server = server
        self._elsewhere = elsewhere

    def repository(self, artifact_uri: str, run_id: str) -> ArtifactRepository:
        """The files below an artifact URI.

        Raises:
            Unsupported: there is no way to it.
        """
        uri = self.rewritten(artifact_uri)
        if (path := local_path(uri)) is not None:
            return self._on_disk(self._base / path, run_id)
        url = URL(uri)
        if url.scheme == "mlflow-artifacts":
            return self._proxied(url, run_id)
        if url.scheme in ("http", "https") and _PROXY_MARK in url.path:
            prefix, _, root = url.path.partition(_PROXY_MARK)
            return ProxyArtifacts(self._api(url.with_path(prefix)), root)
        if self._server is not None:
            return RunArtifacts(self._server, run_id)
        raise Unsupported(
            f"artifacts in {url.scheme}: stores are read through an MLflow server",
            side=Side.SOURCE,
            subject=uri,
            remedy="give the http(s) URI of the tracking server as the source, or copy the store to a disk "
            "and name it with --artifact-root OLD=NEW",
        )

    def rewritten(self, uri: str) -> str:
        """The URI after the user's rewrites of prefixes; a prefix ends where a path segment does."""
        path = local_path(uri)
        for old, new in sorted(self._rewrites.items(), key=lambda pair: -len(pair[0])):
            stem = old.rstrip("/")
            # A local root may be known as a path or as a URI.
            for form in (uri, str(path)) if path is not None else (uri,):
                if form == stem or form.startswith(f"{stem}/"):
                    return new.rstrip("/") + form[len(stem) :]
        return uri

    def _on_disk(self, path: Path, run_id: str) -> ArtifactRepository:
        if self._server is not None and not path.is_dir():
            return RunArtifacts(self._server, run_id)
        return LocalArtifacts(path, self._context)

    def _proxied(self, url: URL, run_id: str) -> ArtifactRepository:
        if url.host:
            # The scheme is the tracking server's, as in MLflow.
            scheme = URL(self._server.url).scheme if self._server is not None else "http"
            return ProxyArtifacts(self._api(URL.build(scheme=scheme, host=url.host, port=url.port)), url.path)
        if self._server is None:
            raise Unsupported(
                "the artifacts are kept by a tracking server, and the source is its database",
                side=Side.SOURCE,
                subject=str(url),
                remedy="give the http(s) URI of the server as the source, or the directory of its "
                "--artifacts-destination with --artifact-root mlflow-artifacts:=DIRECTORY",
            )
        if URL(self._server.url).path.strip("/"):
            # From 3.15 on, a server with --static-prefix serves the proxy's downloads without the prefix.
            return RunArtifacts(self._server, run_id)
        return ProxyArtifacts(self._server, url.path)

    def _api(self, url: URL) -> TrackingApi:
        if self._server is not None and URL(self._server.url).origin() == url.origin():
            return self._server
        return TrackingApi(self._elsewhere, str(url).rstrip("/"))


@asynccontextmanager
async def open_artifact_roots(
    context: Context,
    rewrites: Mapping[str, str],
    *,
    base: Path | None = None,
    server: TrackingApi | None = None,
) -> AsyncGenerator[ArtifactRoots]:
    """What opens the artifact roots of one source; see ``ArtifactRoots`` for the arguments."""
    async with HttpClient(Side.SOURCE, context, classify=classify) as elsewhere:
        yield ArtifactRoots(context, rewrites, base=base, server=server, elsewhere=elsewhere)


def local_path(uri: str) -> Path | None:
    """The path that a bare path or a ``file:`` URI names; None for any other URI."""
    if uri.startswith("file:"):
        rest = uri.removeprefix("file:")
        if rest.startswith("//"):
            _, slash, path = rest[2:].partition("/")
            rest = slash + path
        return Path(url2pathname(rest))
    scheme, colon, _ = uri.partition(":")
    # A one-letter scheme is a Windows drive; a slash before the colon means there is no scheme.
    if colon and len(scheme) > 1 and "/" not in scheme:
        return None
    return Path(uri)
