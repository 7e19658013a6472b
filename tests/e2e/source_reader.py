"""What an MLflow store holds, as MLflow's own client reads it: the other witness of the end-to-end tests."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType

from tests.sdk_reader import sha256
from tests.stores import Store, artifact_directory


@dataclass(frozen=True)
class SourceRun:
    """A run as ``MlflowClient`` tells of it, its points as (key, step, ``repr`` of the value)."""

    id: str
    experiment: str
    name: str
    status: str
    user: str
    started_at: int | None
    ended_at: int | None
    params: dict[str, str]
    tags: dict[str, str]
    points: Counter[tuple[str, int, str]]
    times: dict[tuple[str, int], set[int]]
    files: dict[str, str]
    inputs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def user_tags(self) -> dict[str, str]:
        return {key: value for key, value in self.tags.items() if not key.startswith("mlflow.")}


def runs_of(store: Store) -> dict[str, SourceRun]:
    """All active runs of all active experiments, by id."""
    client = MlflowClient(store.uri)
    return {
        run.info.run_id: _run(store, client, experiment.name, run)
        for experiment in client.search_experiments()
        for run in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ACTIVE_ONLY)
    }


def _run(store: Store, client: MlflowClient, experiment: str, run: Any) -> SourceRun:
    info = run.info
    points: Counter[tuple[str, int, str]] = Counter()
    times: dict[tuple[str, int], set[int]] = {}
    for key in run.data.metrics:
        for metric in client.get_metric_history(info.run_id, key):
            points[key, metric.step, repr(float(metric.value))] += 1
            times.setdefault((key, metric.step), set()).add(metric.timestamp)
    return SourceRun(
        id=info.run_id,
        experiment=experiment,
        name=info.run_name,
        status=info.status,
        user=info.user_id,
        started_at=info.start_time,
        ended_at=info.end_time,
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        points=points,
        times=times,
        files=_files(store, info.run_id),
        inputs=[
            {
                "name": each.dataset.name,
                "digest": each.dataset.digest,
                "source_type": each.dataset.source_type,
                "source": each.dataset.source,
                "context": next((t.value for t in each.tags if t.key == "mlflow.data.context"), None),
            }
            for each in run.inputs.dataset_inputs
        ],
    )


def _files(store: Store, run_id: str) -> dict[str, str]:
    root = artifact_directory(store, run_id)
    return {
        path.relative_to(root).as_posix(): sha256(path.read_bytes())
        for path in root.rglob("*")
        if path.is_file()
    }
