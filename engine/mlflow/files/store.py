"""MLflow's file store as a ``Store``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path

from engine.errors import CommError, ConfigError, EngineError, Side
from engine.mlflow.artifacts import open_artifact_roots
from engine.mlflow.files.disk import explain
from engine.mlflow.files.layout import Layout, RunPlace
from engine.mlflow.files.metrics import points_of
from engine.mlflow.files.sizes import lines_by_key
from engine.mlflow.filters import RunFilter
from engine.mlflow.points import metric_points
from engine.mlflow.store import (
    ACTIVE,
    ArtifactRepository,
    Kin,
    LatestMetric,
    Listed,
    RawExperiment,
    RawRun,
)
from engine.mlflow.threads import Threads
from engine.protocols import SystemOptions, Unreadable
from engine.records import HistorySize, MetricPoints, SystemInfo
from engine.transfer.context import Context

READERS = 4
GROUP_RUNS = 50
"""Runs read in one go; their metric files are read whole, for the newest points."""


class FileStore:
    """The store in a directory such as ``./mlruns``."""

    def __init__(self, root: Path, options: SystemOptions) -> None:
        self.uri = str(root)
        self._root = root
        self._options = options
        self._threads = Threads(READERS, explain)

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        await self._threads.run(self._check)
        self._layout = Layout(self._root, context.lose)
        async with open_artifact_roots(context, self._options.artifact_roots) as self._roots:
            yield SystemInfo(uri=self.uri, product="MLflow file store")

    def _check(self) -> None:
        problem, remedy = None, "check the path"
        if not self._root.exists():
            problem = "there is no such directory"
        elif not self._root.is_dir():
            problem, remedy = "this is a file", "for an SQLite database, write sqlite:///PATH"
        elif not Layout(self._root, lambda *_: None).experiment_paths(include_deleted=True):
            problem = "the directory holds no MLflow experiments (no */meta.yaml)"
            if (self._root / "mlruns").is_dir():
                remedy = f"did you mean {self._root / 'mlruns'}?"
            elif (self._root / "mlflow.db").is_file():
                remedy = f"did you mean sqlite:///{self._root / 'mlflow.db'}?"
        if problem is not None:
            raise ConfigError(problem, side=Side.SOURCE, subject=str(self._root), remedy=remedy)

    async def experiments(self, *, include_deleted: bool) -> AsyncGenerator[RawExperiment]:
        paths = await self._threads.run(
            lambda: self._layout.experiment_paths(include_deleted=include_deleted)
        )
        for path in paths:
            yield await self._threads.run(partial(self._layout.experiment, path))

    async def runs(
        self,
        experiment: RawExperiment,
        *,
        where: RunFilter | None = None,
        since: int | None = None,
        include_deleted: bool = False,
    ) -> AsyncGenerator[RawRun | Unreadable]:
        places = await self._threads.run(lambda: self._layout.run_places(experiment.id))
        for start in range(0, len(places), GROUP_RUNS):
            group = places[start : start + GROUP_RUNS]
            found = await self._threads.run(
                partial(self._group, group, since, include_deleted=include_deleted)
            )
            readable = [run for run in found if isinstance(run, RawRun)]
            wanted = {run.id for run in (where.select(readable) if where is not None else readable)}
            for run in found:
                if run.id in wanted or isinstance(run, Unreadable):
                    yield run

    def _group(
        self, places: Sequence[RunPlace], since: int | None, *, include_deleted: bool
    ) -> list[RawRun | Unreadable]:
        found: list[RawRun | Unreadable] = []
        for place in places:
            try:
                if not include_deleted and self._layout.lifecycle_stage(place.path) != ACTIVE:
                    continue
                run = self._layout.run(place.path)
            except (EngineError, OSError) as error:
                found.append(Unreadable(place.id, explain(error) or error))
                continue
            if since is None or (run.start_time is not None and run.start_time >= since):
                found.append(run)
        return found

    async def parents(self, experiment: RawExperiment) -> AbstractSet[str]:
        def read() -> set[str]:
            places = self._layout.run_places(experiment.id)
            return {parent for place in places if (parent := self._layout.parent_of(place.path))}

        return await self._threads.run(read)

    async def kin(self, run_ids: Collection[str]) -> Mapping[str, Kin]:
        def read() -> dict[str, Kin]:
            return {run_id: kin for run_id in run_ids if (kin := self._layout.kin(run_id)) is not None}

        return await self._threads.run(read)

    async def history(
        self, experiment_id: str, run_id: str, latest: Mapping[str, LatestMetric]
    ) -> AsyncGenerator[MetricPoints]:
        if not latest:
            return
        metrics = self._metrics(experiment_id, run_id)
        batches = self._threads.iterate(points_of(self._layout.disk, metrics))
        async with aclosing(batches):
            async for batch in batches:
                try:
                    points = metric_points(*batch.columns)
                except ValueError as error:
                    raise CommError(
                        f"the run's metrics cannot be read: {error}",
                        side=Side.SOURCE,
                        subject=f"run {run_id}",
                        exc=error,
                    ) from error
                yield points

    async def sizes(self, runs: Sequence[Listed]) -> Mapping[str, HistorySize]:
        def count() -> dict[str, HistorySize]:
            return {run.run_id: self._size(run) for run in runs if run.latest}

        return await self._threads.run(count)

    def _size(self, run: Listed) -> HistorySize:
        lines = lines_by_key(self._layout.disk, self._metrics(run.experiment_id, run.run_id))
        return HistorySize(
            points=sum(lines.values()),
            rows=max(lines.values(), default=0),
            keys=tuple(lines),
            highest_step=max(point.step for point in run.latest.values()),
        )

    def _metrics(self, experiment_id: str, run_id: str) -> Path:
        return self._layout.experiment_path(experiment_id) / run_id / "metrics"

    def artifacts(self, run_id: str, artifact_uri: str) -> ArtifactRepository:
        return self._roots.repository(artifact_uri, run_id)
