"""An MLflow store in a database, as a ``Store``: the blocking readers run in worker threads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing, asynccontextmanager
from typing import Concatenate, ParamSpec, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from engine.errors import CommError, ConfigError, EngineError, Side
from engine.mlflow.artifacts import open_artifact_roots
from engine.mlflow.filters import RunFilter
from engine.mlflow.points import metric_points, restore_infinities
from engine.mlflow.sql import runs as tables
from engine.mlflow.sql.database import BadCell, Database, Session
from engine.mlflow.sql.heads import release_of
from engine.mlflow.sql.sizes import portions, sizes
from engine.mlflow.store import ArtifactRepository, Kin, LatestMetric, Listed, RawExperiment, RawRun
from engine.mlflow.threads import Threads
from engine.protocols import SystemOptions, Unreadable
from engine.records import HistorySize, MetricPoints, SystemInfo
from engine.transfer.context import Context
from engine.transfer.throttling.retry import RetryPolicy, retrying

P = ParamSpec("P")
T = TypeVar("T")

READERS = 4
"""Statements that run at the same time; more only compete for the same disk."""

# Drivers wait for locks and connections themselves.
_RETRIES = RetryPolicy(attempts=3)
_NEEDED = {
    "runs": {
        "run_uuid",
        "experiment_id",
        "start_time",
        "end_time",
        "lifecycle_stage",
        "artifact_uri",
        "name",
    },
    "metrics": {"key", "value", "timestamp", "step", "is_nan", "run_uuid"},
    "latest_metrics": {"key", "value", "timestamp", "step", "is_nan", "run_uuid"},
    "params": {"key", "value", "run_uuid"},
    "tags": {"key", "value", "run_uuid"},
    "experiments": {"experiment_id", "name", "lifecycle_stage", "creation_time", "last_update_time"},
    "experiment_tags": {"key", "value", "experiment_id"},
}


class SqlStore:
    """Reads any ``Database`` that holds a known MLflow schema."""

    def __init__(self, database: Database, options: SystemOptions) -> None:
        self.uri = database.uri
        self._database = database
        self._options = options
        self._threads = Threads(READERS, database.explain)

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        self._context = context
        try:
            self._schema = await self._read(self._inspect)
            head = await self._read(self._head)
            release = release_of(head, self.uri)
            self._check_columns()
            async with open_artifact_roots(context, self._options.artifact_roots) as self._roots:
                yield SystemInfo(
                    uri=self.uri,
                    product=self._database.product,
                    version=f"schema {head} of MLflow {release}",
                )
        finally:
            self._database.close()

    def _inspect(self, session: Session) -> tables.Schema:
        columns: dict[str, set[str]] = defaultdict(set)
        for table, column in session.rows(self._database.columns, "tt"):
            columns[table].add(column)
        return {table: frozenset(names) for table, names in columns.items()}

    def _head(self, session: Session) -> str:
        if "alembic_version" not in self._schema or "experiments" not in self._schema:
            raise ConfigError(
                "the database is not an MLflow tracking store: it lacks MLflow's tables",
                side=Side.SOURCE,
                subject=self.uri,
                remedy="check the URI against the server's --backend-store-uri",
            )
        versions = session.rows("SELECT version_num FROM alembic_version", "t")
        return " and ".join(sorted(version for (version,) in versions))

    def _check_columns(self) -> None:
        missing = sorted(
            f"{table}.{column}"
            for table, columns in _NEEDED.items()
            for column in columns - self._schema.get(table, frozenset())
        )
        if missing:
            raise ConfigError(
                f"the database lacks {', '.join(missing)}",
                side=Side.SOURCE,
                subject=self.uri,
                remedy="it is damaged or not MLflow's; restore it from a backup",
            )

    async def experiments(self, *, include_deleted: bool) -> AsyncGenerator[RawExperiment]:
        for experiment in await self._read(tables.experiments, self._schema, include_deleted=include_deleted):
            yield experiment

    async def runs(
        self,
        experiment: RawExperiment,
        *,
        where: RunFilter | None = None,
        since: int | None = None,
        include_deleted: bool = False,
    ) -> AsyncGenerator[RawRun | Unreadable]:
        last: tables.Position | None = None
        while True:
            page = await self._read(
                tables.run_positions,
                self._database,
                experiment.id,
                after=last,
                since=since,
                include_deleted=include_deleted,
            )
            for start in range(0, len(page), tables.GROUP_RUNS):
                ids = [position.run_id for position in page[start : start + tables.GROUP_RUNS]]
                for group in await self._read(tables.groups, ids):
                    for run in await self._group(group, where):
                        yield run
            if len(page) < tables.ID_PAGE:
                return
            last = page[-1]

    async def _group(self, run_ids: Sequence[str], where: RunFilter | None) -> list[RawRun | Unreadable]:
        """A group of runs; where it cannot be read as one, run by run to find out which are bad."""
        try:
            found = await self._read(tables.runs, self._schema, run_ids)
        except (BadCell, CommError) as error:
            if len(run_ids) == 1:
                return [Unreadable(run_ids[0], self._unreadable(run_ids[0], error))]
            return [run for run_id in run_ids for run in await self._group([run_id], where)]
        return list(where.select(found)) if where is not None else list(found)

    def _unreadable(self, run_id: str, error: BadCell | CommError) -> EngineError:
        if isinstance(error, CommError):
            return error
        return CommError(
            f"the run cannot be read: {error}",
            side=Side.SOURCE,
            subject=f"run {run_id}",
            remedy="repair its rows in the database, or leave it out",
            exc=error,
        )

    async def parents(self, experiment: RawExperiment) -> AbstractSet[str]:
        return await self._read(tables.parents, experiment.id)

    async def kin(self, run_ids: Collection[str]) -> Mapping[str, Kin]:
        ids = sorted(run_ids)
        found: dict[str, Kin] = {}
        for start in range(0, len(ids), tables.GROUP_RUNS):
            part = ids[start : start + tables.GROUP_RUNS]
            found |= await self._read(tables.kin, part)
        return found

    async def history(
        self,
        experiment_id: str,  # noqa: ARG002 - what a REST store needs
        run_id: str,
        latest: Mapping[str, LatestMetric],  # noqa: ARG002 - rows may lack in latest_metrics
    ) -> AsyncGenerator[MetricPoints]:
        async with aclosing(self._threads.iterate(self._database.points(run_id))) as batches:
            async for batch in batches:
                yield self._points(batch, run_id)

    def _points(self, batch: pa.RecordBatch, run_id: str) -> MetricPoints:
        key, step, timestamp, value, is_nan, *_ = batch.columns
        try:
            value = restore_infinities(value, run_id, self._context)
            value = pc.if_else(is_nan.cast(pa.bool_()), float("nan"), value)
            return metric_points(key, step, timestamp, value)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise CommError(
                f"the run's metrics hold values of a wrong type: {error}",
                side=Side.SOURCE,
                subject=f"run {run_id}",
                remedy="repair its rows in table metrics, or migrate without histories",
                exc=error,
            ) from error

    async def sizes(self, runs: Sequence[Listed]) -> Mapping[str, HistorySize]:
        found: dict[str, HistorySize] = {}
        for run_ids in portions(runs):
            try:
                found |= await self._read(sizes, run_ids)
            except BadCell as error:
                raise CommError(
                    f"metrics hold values of a wrong type: {error}",
                    side=Side.SOURCE,
                    subject=f"run {run_ids[0]}" if len(run_ids) == 1 else f"one of {len(run_ids)} runs",
                    remedy="repair the rows in table metrics, or migrate without histories",
                    exc=error,
                ) from error
        return found

    def artifacts(self, run_id: str, artifact_uri: str) -> ArtifactRepository:
        return self._roots.repository(artifact_uri, run_id)

    async def _read(
        self, query: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a query in a transaction of its own; again if the database was busy or away."""

        def once() -> T:
            with self._database.session() as session:
                return query(session, *args, **kwargs)

        return await retrying(lambda: self._threads.run(once), _RETRIES)
