"""MLflow's JSON as raw rows.

Zero numbers, empty strings and empty lists are often omitted; doubles that JSON has no word for come as the
strings ``NaN``, ``Infinity`` and ``-Infinity`` (protobuf's JSON), or bare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from engine.mlflow.points import restored
from engine.mlflow.store import ACTIVE, DATASET_CONTEXT, LatestMetric, RawExperiment, RawModel, RawRun
from engine.records import DatasetInput, Json


def experiment_of(json: Mapping[str, Json], workspace: str) -> RawExperiment:
    return RawExperiment(
        id=str(json["experiment_id"]),
        name=json["name"],
        artifact_location=json.get("artifact_location") or None,
        lifecycle_stage=json.get("lifecycle_stage") or ACTIVE,
        creation_time=_time(json.get("creation_time")),
        last_update_time=_time(json.get("last_update_time")),
        tags=_pairs(json.get("tags", ())),
        workspace=workspace,
    )


def run_of(json: Mapping[str, Json], ui: str) -> RawRun:
    """One run of ``runs/search`` or ``runs/get``.

    Args:
        ui: the URL of the server's pages for people.
    """
    info, data = json["info"], json.get("data", {})
    inputs, outputs = json.get("inputs", {}), json.get("outputs", {})
    run_id, experiment_id = info.get("run_id") or info["run_uuid"], str(info["experiment_id"])
    return RawRun(
        id=run_id,
        experiment_id=experiment_id,
        name=info.get("run_name") or None,
        status=info.get("status", ""),
        # A run that has none is answered with 0.
        start_time=_time(info.get("start_time")),
        end_time=_time(info.get("end_time")),
        user_id=info.get("user_id") or None,
        lifecycle_stage=info.get("lifecycle_stage") or ACTIVE,
        artifact_uri=info.get("artifact_uri") or None,
        params=_pairs(data.get("params", ())),
        tags=_pairs(data.get("tags", ())),
        latest={
            metric["key"]: LatestMetric(
                restored(float(metric.get("value", 0.0))),
                int(metric.get("timestamp", 0)),
                int(metric.get("step", 0)),
            )
            for metric in data.get("metrics", ())
        },
        inputs=tuple(_dataset_of(one) for one in inputs.get("dataset_inputs", ())),
        model_inputs=tuple(RawModel(model_id=one["model_id"]) for one in inputs.get("model_inputs", ())),
        model_outputs=tuple(
            RawModel(model_id=one["model_id"], step=int(one.get("step", 0)))
            for one in outputs.get("model_outputs", ())
        ),
        url=f"{ui}/experiments/{experiment_id}/runs/{run_id}",
    )


def run_id_of(json: Json) -> str | None:
    """The id of a run of which nothing else may be readable."""
    info = json.get("info") if isinstance(json, Mapping) else None
    found = (info.get("run_id") or info.get("run_uuid")) if isinstance(info, Mapping) else None
    return found if isinstance(found, str) else None


def _dataset_of(json: Mapping[str, Json]) -> DatasetInput:
    dataset, tags = json["dataset"], _pairs(json.get("tags", ()))
    context = tags.pop(DATASET_CONTEXT, None)
    return DatasetInput(
        name=dataset.get("name", ""),
        digest=dataset.get("digest", ""),
        source_type=dataset.get("source_type", ""),
        source=dataset.get("source", ""),
        schema=dataset.get("schema") or None,
        profile=dataset.get("profile") or None,
        context=context,
        tags=tags,
    )


def _pairs(items: Iterable[Mapping[str, str]] | Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {item.get("key", ""): item.get("value", "") for item in items}


def _time(value: Json) -> int | None:
    return int(value) or None if value is not None else None
