"""What a kind of MLflow store (SQL, files, REST) implements, and the rows that it yields.

A ``Store`` only reads and knows nothing of ``engine.records.Run``: it hands out what MLflow keeps, unmapped.
``engine.mlflow.mapping`` turns that into records, ``engine.mlflow.source`` does selection and grouping,
so that all three kinds of store behave alike.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from engine.records import ArtifactEntry, Blob, DatasetInput, HistorySize, MetricPoints, SystemInfo

if TYPE_CHECKING:
    from engine.mlflow.filters import RunFilter
    from engine.protocols import Unreadable
    from engine.transfer.context import Context

ACTIVE = "active"
DELETED = "deleted"

RUN_NAME = "mlflow.runName"
PARENT_RUN_ID = "mlflow.parentRunId"
DATASET_CONTEXT = "mlflow.data.context"


class LatestMetric(NamedTuple):
    """The newest point of a metric, by MLflow's rule: greatest step, then timestamp, then value."""

    value: float
    timestamp: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RawExperiment:
    """One experiment as stored. ``workspace`` is empty where the store has none."""

    id: str
    name: str
    artifact_location: str | None = None
    lifecycle_stage: str = ACTIVE
    creation_time: int | None = None
    last_update_time: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    workspace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawModel:
    """A logged model that a run read (``step`` is None) or made."""

    model_id: str
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRun:
    """One run as stored, without its history and artifacts.

    Attributes:
        name: the run's own name field; may be missing in old stores, which have only the tag.
        status: MLflow's word, for example ``FINISHED``.
        start_time: Unix milliseconds; None if the store has none, never 0 in its place.
        latest: the newest point of every metric; its keys are all the metrics of the run.
        url: where a person can look at the run.
    """

    id: str
    experiment_id: str
    name: str | None = None
    status: str = ""
    start_time: int | None = None
    end_time: int | None = None
    user_id: str | None = None
    lifecycle_stage: str = ACTIVE
    artifact_uri: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    latest: Mapping[str, LatestMetric] = field(default_factory=dict)
    inputs: tuple[DatasetInput, ...] = ()
    model_inputs: tuple[RawModel, ...] = ()
    model_outputs: tuple[RawModel, ...] = ()
    url: str | None = None

    @property
    def display_name(self) -> str | None:
        return self.name or self.tags.get(RUN_NAME) or None

    @property
    def parent_id(self) -> str | None:
        return self.tags.get(PARENT_RUN_ID) or None


@dataclass(frozen=True, slots=True)
class Kin:
    """As much of a run as its place in the tree of nested runs needs."""

    name: str | None
    parent_id: str | None


class Listed(NamedTuple):
    """As much of a listed run as finding its history needs."""

    experiment_id: str
    run_id: str
    latest: Mapping[str, LatestMetric]


class ArtifactRepository(Protocol):
    """The files below one artifact URI."""

    def entries(self) -> AsyncGenerator[ArtifactEntry]:
        """All files, recursively, streamed; ``locator`` is whatever ``read`` needs to find them again.

        Raises:
            NotFound: the root cannot be reached. A root that is merely empty yields nothing.
        """
        ...

    def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        """The bytes from ``offset`` on, in pieces of at most 1 MiB."""
        ...


class Store(Protocol):
    """One MLflow tracking store, read only. All but ``open`` and ``uri`` is used inside ``open``."""

    uri: str
    """The tracking URI without secrets."""

    def open(self, context: Context) -> AbstractAsyncContextManager[SystemInfo]:
        """Connect and check; the errors are those of ``engine.protocols.Source.open``."""
        ...

    def experiments(self, *, include_deleted: bool) -> AsyncGenerator[RawExperiment]:
        """All experiments, of all workspaces that can be seen, in ascending order of id."""
        ...

    def runs(
        self,
        experiment: RawExperiment,
        *,
        where: RunFilter | None = None,
        since: int | None = None,
        include_deleted: bool = False,
    ) -> AsyncGenerator[RawRun | Unreadable]:
        """The runs of an experiment in ascending order of (start time, id), each once.

        Args:
            where: takes only the runs that match. ``where.text`` is the MLflow filter string, for a server
                that filters by itself; ``where.select(page of runs)`` decides the same here.
            since: takes only runs with a start time at or after this (ms).
            include_deleted: also runs of lifecycle stage ``deleted``.
        """
        ...

    async def parents(self, experiment: RawExperiment) -> AbstractSet[str]:
        """The ids that runs of this experiment name as their parent."""
        ...

    async def kin(self, run_ids: Collection[str]) -> Mapping[str, Kin]:
        """Name and parent of the runs with these ids, of any experiment and stage; unknown ids are absent."""
        ...

    def history(
        self, experiment_id: str, run_id: str, latest: Mapping[str, LatestMetric]
    ) -> AsyncGenerator[MetricPoints]:
        """Every point of a run's metrics, in any order, in chunks of at most ``MetricPoints.CHUNK_POINTS``.

        Args:
            latest: what ``RawRun.latest`` said: all keys, and a hint at how long each history is.
        """
        ...

    async def sizes(self, runs: Sequence[Listed]) -> Mapping[str, HistorySize]:
        """How long the histories of these runs are, by id, without reading them."""
        ...

    def artifacts(self, run_id: str, artifact_uri: str) -> ArtifactRepository:
        """The artifacts of a run, by the way in which this kind of store reaches them."""
        ...
