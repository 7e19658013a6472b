"""MLflow as a ``Source``: selection, mapping and grouping, over any kind of store."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import cast

import orjson

from engine.fingerprints import fingerprint
from engine.mlflow.filters import parse_filter
from engine.mlflow.mapping import project_of, run_of
from engine.mlflow.store import ArtifactRepository, LatestMetric, Listed, RawExperiment
from engine.mlflow.tree import RunTree
from engine.mlflow.uri import open_store
from engine.protocols import SystemOptions, Unreadable
from engine.records import (
    Artifact,
    ArtifactEntry,
    Blob,
    HistoryChunk,
    HistorySize,
    Project,
    Run,
    RunFile,
    Selection,
    SystemInfo,
)
from engine.selection import Chosen, refuse_order
from engine.transfer.context import Context

ARTIFACT_TYPE = "imported-artifacts"
"""As W&B's own importer named it."""

_ARTIFACT_NAME_LENGTH = 128
_RUN_ID_SHOWN = 8


class MlflowSource:
    """Everything in an MLflow tracking store.

    Args:
        uri: a tracking URI as MLflow takes it; empty for MLflow's own default.

    Raises:
        ConfigError: the URI is malformed.
    """

    def __init__(self, uri: str, options: SystemOptions) -> None:
        self._store = open_store(uri, options)
        self._options = options
        self.uri = f"mlflow:{self._store.uri}"

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        async with self._store.open(context) as info:
            self._context = context
            self._tree = RunTree(self._store)
            self._experiments: dict[str, RawExperiment] = {}
            yield replace(info, uri=self.uri)

    async def projects(self, selection: Selection) -> AsyncGenerator[Project]:
        """The experiments that the selection names, by ascending id.

        Raises:
            ConfigError: a name matches nothing, or the run filter is malformed.
        """
        if selection.filter:
            parse_filter(selection.filter)
        refuse_order(selection)
        chosen = Chosen(selection.projects, "experiment")
        # All at once: a wrong name must be found before the first experiment is on its way.
        projects = await self._listed(include_deleted=selection.include_deleted)
        wanted = [project for project in projects if chosen.takes(project)]
        if selection.projects:
            everything = projects if selection.include_deleted else await self._listed(include_deleted=True)
            chosen.check(projects, [project for project in everything if project.deleted])
        for project in wanted:
            yield project

    async def _listed(self, *, include_deleted: bool) -> list[Project]:
        found = []
        async for experiment in self._store.experiments(include_deleted=include_deleted):
            self._experiments[experiment.id] = experiment
            found.append(project_of(experiment, self._context.lose))
        return found

    async def runs(self, project: Project, selection: Selection) -> AsyncGenerator[Run | Unreadable]:
        experiment = self._experiments[project.id]
        parents = await self._store.parents(experiment)
        left = selection.limit
        runs = self._store.runs(
            experiment,
            where=parse_filter(selection.filter) if selection.filter else None,
            since=selection.since,
            include_deleted=selection.include_deleted,
        )
        async with aclosing(runs):
            async for raw in runs:
                if left is not None and left <= 0:
                    return
                if isinstance(raw, Unreadable):
                    left = None if left is None else left - 1
                    yield raw
                    continue
                group = await self._tree.group_of(raw, parents)
                run = run_of(
                    raw,
                    project.namespace,
                    group or project.namespace.project,
                    self._context.lose,
                    parse_params=self._options.parse_params,
                )
                if not selection.takes(run):
                    continue
                left = None if left is None else left - 1
                # A new point of a metric shows in its latest one, unless it is older than that.
                yield replace(run, fingerprint=fingerprint(run, run.locator))

    async def history_sizes(self, runs: Sequence[Run]) -> Mapping[str, HistorySize]:
        return await self._store.sizes([_listed(run) for run in runs])

    async def history(self, run: Run) -> AsyncGenerator[HistoryChunk]:
        chunks = self._store.history(*_listed(run))
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    async def files(self, run: Run) -> AsyncGenerator[RunFile]:  # noqa: ARG002 - MLflow has none
        none: tuple[RunFile, ...] = ()
        for file in none:
            yield file

    async def artifacts(self, run: Run) -> AsyncGenerator[Artifact]:
        """The artifacts of a run as one, if it has any.

        Raises:
            NotFound: the artifact root is gone.
        """
        uri = run.extra["artifact_uri"]
        if not uri:
            return
        async with aclosing(self._store.artifacts(run.id, uri).entries()) as entries:
            if await anext(entries, None) is None:
                return
        yield Artifact(
            namespace=run.namespace,
            name=_artifact_name(run),
            type=ARTIFACT_TYPE,
            run_id=run.id,
            description=f"Artifacts of MLflow run {run.name or run.id}",
            metadata={"mlflow_run_id": run.id, "mlflow_artifact_uri": uri},
            created_at=run.ended_at or run.started_at,
            locator=_locator(run.id, uri),
        )

    async def entries(self, artifact: Artifact) -> AsyncGenerator[ArtifactEntry]:
        async with aclosing(self._repository(artifact.locator)[0].entries()) as entries:
            root = orjson.loads(artifact.locator)
            async for entry in entries:
                yield replace(entry, locator=_locator(*root, entry.locator))

    async def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        repository, locator = self._repository(blob.locator)
        async with aclosing(repository.read(replace(blob, locator=locator), offset)) as pieces:
            async for piece in pieces:
                yield piece

    def _repository(self, locator: str) -> tuple[ArtifactRepository, str]:
        """The repository of an artifact or of one of its files, and how it calls that file."""
        run_id, uri, *file = orjson.loads(locator)
        return self._store.artifacts(run_id, uri), file[0] if file else ""


def _listed(run: Run) -> Listed:
    return Listed(run.extra["experiment_id"], run.id, cast("Mapping[str, LatestMetric]", run.locator))


def _locator(*parts: str) -> str:
    return orjson.dumps(parts).decode()


def _artifact_name(run: Run) -> str:
    """Unique by the run's id, as names are not; readable by its name, cleaned as W&B's importer did."""
    shown = run.id[:_RUN_ID_SHOWN]
    clean = re.sub(r"[^a-zA-Z0-9_\-.]", "__", run.name or "run")
    return f"{clean[: _ARTIFACT_NAME_LENGTH - len(shown) - 1]}-{shown}"
