"""From MLflow to W&B, by the calls of ``wandb.apis.importers.mlflow``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from engine.errors import ConfigError, NotFound, Side
from engine.importers.results import ImportResult
from engine.importers.running import (
    Observer,
    Transfer,
    checked_url,
    defaults,
    is_address,
    plain,
    run_all,
    server,
    with_workers,
)
from engine.mlflow.source import MlflowSource
from engine.protocols import Destination, SystemOptions, Unreadable, open_destination, open_source
from engine.records import Json, Namespace, Project, Run, Selection
from engine.transfer.options import Options

if TYPE_CHECKING:
    import mlflow

PER_QUERY = 100
"""Ids in one filter."""


@dataclass(frozen=True, slots=True)
class MlflowRun:
    """A run that is to be imported, made of what ``mlflow`` itself returns.

    It names the run and the store that it is in; what is imported is what the store holds then.

    Args:
        run: an ``mlflow.entities.Run``.
        mlflow_client: the client that knows it.
    """

    run: Any
    mlflow_client: mlflow.MlflowClient

    def run_id(self) -> str:
        run_id: str = self.run.info.run_id
        return run_id

    def display_name(self) -> str:
        name: str = self.run.info.run_name
        return name

    def config(self) -> dict[str, str]:
        return dict(self.run.data.params)

    def summary(self) -> dict[str, float]:
        return dict(self.run.data.metrics)

    def notes(self) -> str | None:
        note: str | None = self.run.data.tags.get("mlflow.note.content")
        return note


@dataclass(frozen=True, slots=True)
class CollectedRuns:
    """The active runs of a store, listed anew whenever they are iterated over.

    Given to ``import_runs`` as it is, nothing is listed by MLflow's client: the engine does that faster.
    """

    importer: MlflowImporter
    limit: int | None = None

    def __iter__(self) -> Iterator[MlflowRun]:
        return islice(self._all(), self.limit)

    def _all(self) -> Iterator[MlflowRun]:
        client = self.importer.mlflow_client
        for experiment in _paged(client.search_experiments):
            for run in _paged(partial(client.search_runs, [experiment.experiment_id])):
                yield MlflowRun(run, client)


def _paged(search: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        if not (token := page.token):
            return


class MlflowImporter:
    """Brings runs of an MLflow store to W&B.

    importer = MlflowImporter(mlflow_tracking_uri="http://localhost:5000")
    importer.import_runs(importer.collect_runs(), namespace=Namespace("team", "imported"))

    W&B's importer had the destination before the tracking URI; three arguments in that order, without their
    names, are understood too.

    Args:
        mlflow_tracking_uri: any that MLflow takes; None for MLflow's own default.
        dst_base_url: of the W&B server; None as the SDK finds it.
        dst_api_key: None as the SDK finds it: ``WANDB_API_KEY`` or netrc.
        mlflow_registry_uri: for the client of collected runs. Registered models are not imported.
        custom_api_kwargs: ``{"timeout": seconds}``: how long a server may be gone.
        options: everything else that the engine can be asked for; by default the ledger is in
            ``.transfer-engine``.
        on_event: is told of everything that happens, in the thread of the import.

    Raises:
        ConfigError: an address is malformed.
    """

    def __init__(
        self,
        mlflow_tracking_uri: str | None = None,
        dst_base_url: str | None = None,
        dst_api_key: str | None = None,
        mlflow_registry_uri: str | None = None,
        *,
        custom_api_kwargs: dict[str, Json] | None = None,
        options: Options | None = None,
        on_event: Observer | None = None,
    ) -> None:
        # No key has a slash in it.
        if dst_base_url and not is_address(dst_base_url) and dst_api_key and "/" in dst_api_key:
            mlflow_tracking_uri, dst_base_url, dst_api_key = dst_api_key, mlflow_tracking_uri, dst_base_url
        self.dst_base_url = checked_url(dst_base_url, Side.DESTINATION) if dst_base_url else None
        self.mlflow_tracking_uri = mlflow_tracking_uri
        self.mlflow_registry_uri = mlflow_registry_uri
        self._dst_api_key = dst_api_key
        self._options = defaults(options, custom_api_kwargs)
        self._on_event = on_event

    def __repr__(self) -> str:
        return f"<MlflowImporter src={self.mlflow_tracking_uri}>"

    @cached_property
    def mlflow_client(self) -> mlflow.MlflowClient:
        """The client of the runs that are collected."""
        import mlflow  # takes seconds, and is not needed to import all runs

        return mlflow.MlflowClient(self.mlflow_tracking_uri, self.mlflow_registry_uri)

    def collect_runs(self, limit: int | None = None) -> CollectedRuns:
        """All active runs of the store, or ``limit`` of them; nothing is listed yet.

        An import takes the first ones that have not arrived before, iteration the first ones.
        """
        return CollectedRuns(self, limit)

    async def import_runs_async(
        self,
        runs: Iterable[MlflowRun],
        artifacts: bool = True,
        namespace: Namespace | None = None,
        parallel: bool = True,
        max_workers: int | None = None,
        *,
        incremental: bool = True,
        raise_on_error: bool = True,
    ) -> ImportResult:
        """Import runs; those that arrived before and did not change since are left out.

        Args:
            runs: what ``collect_runs`` returned, or any ``MlflowRun`` of any stores.
            artifacts: whether to import their artifacts.
            namespace: the entity and project for all of them, where each experiment is a group. None: each
                experiment becomes a project of the entity that the key belongs to.
            parallel: False for one run at a time.
            max_workers: runs at a time.
            incremental: False to import everything again; nothing is doubled.
            raise_on_error: raise if a run did not arrive; otherwise only the result tells.

        Raises:
            ImportFailures: something did not arrive; everything else did.
            EngineError: the import could not begin or not go on.
        """
        options = replace(
            with_workers(self._options, parallel=parallel, max_workers=max_workers),
            artifacts=artifacts,
            incremental=incremental,
        )
        if isinstance(runs, CollectedRuns):
            source = open_source(f"mlflow:{runs.importer.mlflow_tracking_uri or ''}")
            selection = replace(options.selection, limit=runs.limit)
            transfers = [
                Transfer(source, self._destination(namespace), replace(options, selection=selection))
            ]
        else:
            # Whoever makes the runs may ask a server for them.
            chosen = await anyio.to_thread.run_sync(_chosen, runs)
            transfers = [
                Transfer(ChosenRuns(uri, ids), self._destination(namespace), options)
                for uri, ids in chosen.items()
            ]
        return await run_all(transfers, on_event=self._on_event, raise_on_error=raise_on_error)

    import_runs = plain(import_runs_async)

    def _destination(self, namespace: Namespace | None) -> Destination:
        if namespace is not None and not (namespace.entity and namespace.project):
            raise ConfigError("a namespace needs an entity and a project", side=Side.DESTINATION)
        path = namespace.path if namespace else ""
        return open_destination(
            f"wandb:{server(self.dst_base_url, path)}", SystemOptions(api_key=self._dst_api_key)
        )


Ids = Mapping[str, Sequence[str]]
"""Of runs, by the id of their experiment."""


def _chosen(runs: Iterable[MlflowRun]) -> dict[str, Ids]:
    """The ids of runs, by the tracking URI of the store that they are in."""
    found: dict[str, dict[str, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))
    for chosen in runs:
        info = chosen.run.info
        found[chosen.mlflow_client.tracking_uri][info.experiment_id][info.run_id] = None
    return {
        uri: {experiment: list(ids) for experiment, ids in experiments.items()}
        for uri, experiments in found.items()
    }


class ChosenRuns(MlflowSource):
    """Of an MLflow store, these runs and no others, whatever the selection says.

    Args:
        ids: of the runs, by experiment.
    """

    def __init__(self, uri: str, ids: Ids) -> None:
        super().__init__(uri, SystemOptions())
        self._ids = ids

    async def projects(self, selection: Selection) -> AsyncGenerator[Project]:
        # By id: another experiment may have it for its name.
        everything = super().projects(replace(selection, projects=(), filter=None, include_deleted=True))
        async with aclosing(everything) as projects:
            async for project in projects:
                if project.id in self._ids:
                    yield project

    async def runs(self, project: Project, selection: Selection) -> AsyncGenerator[Run | Unreadable]:
        """The chosen runs of an experiment; one that is gone comes as ``Unreadable``."""
        wanted = self._ids[project.id]
        missing = set(wanted)
        for ids in (wanted[start : start + PER_QUERY] for start in range(0, len(wanted), PER_QUERY)):
            quoted = ", ".join(f"'{run_id}'" for run_id in ids)
            these = replace(selection, filter=f"attributes.run_id IN ({quoted})", include_deleted=True)
            async with aclosing(super().runs(project, these)) as runs:
                async for run in runs:
                    missing.discard(run.id)
                    yield run
        for run_id in sorted(missing):
            gone = NotFound("it is not there any more", side=Side.SOURCE, subject=f"run {run_id}")
            yield Unreadable(run_id, gone)
