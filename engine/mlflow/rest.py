"""A tracking server as a store: MLflow's REST API, read only, from 2.9 on."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from engine.errors import CommError, EngineError, NotFound, Side, Transient, Unsupported
from engine.http import HttpClient, WebPage
from engine.mlflow.artifacts import open_artifact_roots
from engine.mlflow.history_rest import HistoryReader
from engine.mlflow.history_sizes import estimated_size
from engine.mlflow.rest_api import TrackingApi, classify
from engine.mlflow.rest_auth import WORKSPACE, Access, access_of
from engine.mlflow.rest_json import experiment_of, run_of
from engine.mlflow.rest_listing import EXPERIMENTS_PATH, PAGE, RunListing, parent_ids, runs_by_id, search
from engine.mlflow.store import (
    ArtifactRepository,
    Kin,
    LatestMetric,
    Listed,
    RawExperiment,
    RawRun,
    Store,
)
from engine.protocols import SystemOptions, Unreadable
from engine.records import HistorySize, Json, MetricPoints, SystemInfo
from engine.transfer.throttling.retry import RetryPolicy, retrying

if TYPE_CHECKING:
    from engine.mlflow.filters import RunFilter
    from engine.transfer.context import Context

OLDEST = (2, 9)
PAGED_HISTORY = (3, 2)
"""The first version that gives a metric's history in pages."""

WORKSPACE_HEADER = "X-MLFLOW-WORKSPACE"

_HELLO = RetryPolicy(attempts=2)
"""Somebody is waiting in front of the screen, and a wrong host name does not become right."""

_KIN_AT_ONCE = 100


def open_rest_store(uri: str, options: SystemOptions) -> Store:
    """The store behind an ``http(s)://`` or ``databricks`` tracking URI, not yet connected.

    Raises:
        ConfigError: the URI or the environment cannot work; see ``rest_auth.access_of``.
        Unsupported: the environment asks for an authentication that is not built in.
    """
    if uri.partition(":")[0] == "databricks":
        from engine.mlflow.databricks import open_databricks_store

        return open_databricks_store(uri, options)
    return RestStore(access_of(uri, options.api_key), options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """In what the services that speak MLflow's REST API differ.

    Attributes:
        bulk_history: whether there is ``get-history-bulk``.
        offset_tokens: whether page tokens hold an offset.
        find_by_id: whether the filter language knows ``attributes.run_id IN``.
        experiment_order: order of experiments; empty where it cannot be chosen.
        run_order: a stable order of runs.
        ui: path of the pages for people.
    """

    bulk_history: bool
    offset_tokens: bool
    find_by_id: bool
    experiment_order: tuple[str, ...]
    run_order: tuple[str, ...]
    ui: str


MLFLOW = Dialect(
    bulk_history=True,
    offset_tokens=True,
    find_by_id=True,
    experiment_order=("experiment_id ASC",),
    run_order=("attributes.start_time ASC", "attributes.run_id ASC"),
    ui="#",
)


class RestStore:
    """One tracking server."""

    def __init__(self, access: Access, options: SystemOptions, dialect: Dialect = MLFLOW) -> None:
        self.uri = access.url
        self._access = access
        self._options = options
        self._dialect = dialect
        self._workspace = ""
        self._experiments: list[str] = []

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        """Connect, probe the version and the credentials.

        Raises:
            Transient: nothing answers there.
            AuthError: the credentials are refused.
            Unsupported: the server is older than 2.9.
            CommError: what answers is no tracking server.
        """
        access = self._access
        async with HttpClient(
            Side.SOURCE, context, headers=access.headers, ssl_context=access.ssl_context, classify=classify
        ) as http:
            api = TrackingApi(http, access.url, self._workspace_headers)
            async with self._serve(api, context):
                yield await self._probe(api)

    @asynccontextmanager
    async def _serve(
        self, api: TrackingApi, context: Context, *, artifacts_by_server: bool = True
    ) -> AsyncGenerator[None]:
        """Set up what the other methods work with."""
        dialect = self._dialect
        self._api = api
        self._ui = f"{api.url}/{dialect.ui}"
        self._listing = RunListing(
            api, context, ui=self._ui, order=dialect.run_order, offsets=dialect.offset_tokens
        )
        self._histories = HistoryReader(api, context, bulk=dialect.bulk_history)
        server = api if artifacts_by_server else None
        async with open_artifact_roots(context, self._options.artifact_roots, server=server) as roots:
            self._roots = roots
            yield

    async def _workspace_headers(self, _path: str) -> Mapping[str, str]:
        # Servers without workspaces refuse the header; the probes go out before it is known.
        return {WORKSPACE_HEADER: self._workspace} if self._workspace else {}

    async def _probe(self, api: TrackingApi) -> SystemInfo:
        version = await retrying(partial(self._version, api), _HELLO)
        info = await self._server_info(api)
        notes: list[str] = []
        if version is None:
            notes.append("The server does not tell its version; it is taken for 2.9 or later.")
        elif _numbers(version) < PAGED_HISTORY:
            notes.append(
                "This version gives a metric's history in one answer: memory grows with the longest one."
            )
        if info.get("workspaces_enabled"):
            self._workspace = self._access.workspace or "default"
            notes.append(f"Only the workspace {self._workspace!r} is read; {WORKSPACE} names another.")
        elif self._access.workspace:
            notes.append(f"{WORKSPACE} is ignored: the server has no workspaces.")
        # Whether we may read at all, and whether this is a tracking server and not only something with pages.
        first = partial(api.post, EXPERIMENTS_PATH, {"max_results": 1}, subject=self.uri)
        try:
            answer = await first(retry=False)
        except WebPage as page:  # later it may be a proxy's passing trouble, here it is the wrong address
            raise api.not_mlflow(EXPERIMENTS_PATH, page) from page
        except Transient:
            answer = await first()
        if answer and "experiments" not in answer:
            raise api.not_mlflow(EXPERIMENTS_PATH, None)
        return SystemInfo(
            uri=self.uri,
            product="MLflow server",
            version=version,
            identity=self._access.identity,
            notes=tuple(notes),
        )

    async def _version(self, api: TrackingApi) -> str | None:
        """The version, None if the server or a gateway before it keeps it back.

        Raises:
            Unsupported: it is too old.
        """
        try:
            text = (await api.text("version")).strip()
        except NotFound:
            return None
        if not re.fullmatch(r"\d+\.\d+[\w.+-]*", text):
            return None
        if _numbers(text) < OLDEST:
            raise Unsupported(
                f"MLflow {text} is too old: its API lacks what a complete transfer needs",
                side=Side.SOURCE,
                subject=self.uri,
                remedy="upgrade the server to 2.9 or later, or give its database or directory as the source",
            )
        return text

    async def _server_info(self, api: TrackingApi) -> Mapping[str, Json]:
        """What servers from 3.10 on say of themselves."""
        try:
            return await api.get("api/3.0/mlflow/server-info")
        except EngineError as error:
            if error.retryable:
                raise
            return {}

    async def experiments(self, *, include_deleted: bool) -> AsyncGenerator[RawExperiment]:
        body = {
            "max_results": PAGE,
            "view_type": "ALL" if include_deleted else "ACTIVE_ONLY",
            "order_by": list(self._dialect.experiment_order),
        }
        self._experiments = []
        last_page: set[str] = set()
        async for page in search(self._api, EXPERIMENTS_PATH, body, "experiments", self.uri):
            found = [experiment_of(json, self._workspace) for json in page]
            for experiment in found:
                # Experiments that come or go meanwhile shift the others by a few places.
                if experiment.id not in last_page:
                    self._experiments.append(experiment.id)
                    yield experiment
            last_page = {experiment.id for experiment in found}

    async def runs(
        self,
        experiment: RawExperiment,
        *,
        where: RunFilter | None = None,
        since: int | None = None,
        include_deleted: bool = False,
    ) -> AsyncGenerator[RawRun | Unreadable]:
        pages = self._listing.pages(
            experiment, where.text if where else None, since, include_deleted=include_deleted
        )
        async for page in pages:
            for run in page:
                if isinstance(run, RawRun):
                    self._histories.expect(run.id, run.latest)
            for run in page:
                yield run

    async def parents(self, experiment: RawExperiment) -> AbstractSet[str]:
        return await parent_ids(self._api, experiment.id)

    async def kin(self, run_ids: Collection[str]) -> Mapping[str, Kin]:
        found: dict[str, Kin] = {}
        ids = iter(run_ids)
        while some := list(islice(ids, _KIN_AT_ONCE)):
            # A search can take many runs at once, but only from experiments that it is told.
            if self._experiments and self._dialect.find_by_id:
                async for run in runs_by_id(self._api, self._experiments[:PAGE], some):
                    found[run.id] = Kin(run.display_name, run.parent_id)
            for run_id in some:
                if run_id not in found and (single := await self._run(run_id)) is not None:
                    found[run_id] = Kin(single.display_name, single.parent_id)
        return found

    async def _run(self, run_id: str) -> RawRun | None:
        try:
            answer = await self._api.get(
                "api/2.0/mlflow/runs/get", {"run_id": run_id}, subject=f"run {run_id}"
            )
        except (NotFound, CommError):
            # A parent is whatever a tag says: MLflow answers 400 to what cannot be an id.
            return None
        return run_of(answer["run"], self._ui)

    def history(
        self,
        experiment_id: str,  # noqa: ARG002  (other stores need it)
        run_id: str,
        latest: Mapping[str, LatestMetric],
    ) -> AsyncGenerator[MetricPoints]:
        return self._histories.read(run_id, latest)

    async def sizes(self, runs: Sequence[Listed]) -> Mapping[str, HistorySize]:
        return {run.run_id: estimated_size(run.latest, bulk=self._dialect.bulk_history) for run in runs}

    def artifacts(self, run_id: str, artifact_uri: str) -> ArtifactRepository:
        return self._roots.repository(artifact_uri, run_id)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:2]))
