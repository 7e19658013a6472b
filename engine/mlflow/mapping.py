"""What MLflow keeps, as records: one place for all kinds of store.

The values of a run that have a field in ``Run`` go there; the rest is kept in ``Run.extra`` under

- ``mlflow_tags``: all tags that start with ``mlflow.``, verbatim, also those that have a field
- ``experiment_id``, ``artifact_uri``, ``lifecycle_stage``, ``user_id``, ``start_time``, ``end_time``
- ``ended_before_started``: True if so; the times stay as they are
- ``model_inputs``, ``model_outputs``: ``[{"model_id": …, "step": …}]``
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from engine.mlflow.store import DELETED, PARENT_RUN_ID, RawExperiment, RawModel, RawRun
from engine.mlflow.text import Lose, TextOf
from engine.records import Code, DatasetInput, Json, Namespace, Project, Run, RunState

NOTE = "mlflow.note.content"
USER = "mlflow.user"
SYSTEM_PREFIX = "mlflow."
DEFAULT_WORKSPACE = "default"

_STATES = {
    "RUNNING": RunState.RUNNING,
    "SCHEDULED": RunState.PENDING,
    "FINISHED": RunState.FINISHED,
    "FAILED": RunState.FAILED,
    "KILLED": RunState.KILLED,
}
_CONSTANTS = {"True": True, "False": False, "None": None}
_NUMBER = re.compile(r"-?[0-9][0-9.]*(e[+-]?[0-9]+)?")
_EXACT_INTEGERS = 2**53


def project_of(experiment: RawExperiment, lose: Lose) -> Project:
    """An experiment as a project. The workspace ``default``, the only one of most stores, is not named."""
    text = TextOf(f"experiment {experiment.id}", lose)
    workspace = "" if experiment.workspace == DEFAULT_WORKSPACE else experiment.workspace
    return Project(
        namespace=Namespace(workspace, text.shown(experiment.name, "name")),
        id=experiment.id,
        description=text.shown(experiment.tags[NOTE], "note") if NOTE in experiment.tags else None,
        labels=text.mapping({key: value for key, value in experiment.tags.items() if key != NOTE}),
        created_at=experiment.creation_time,
        deleted=experiment.lifecycle_stage == DELETED,
    )


def run_of(raw: RawRun, namespace: Namespace, group: str, lose: Lose, *, parse_params: bool = False) -> Run:
    """A run as a record.

    Args:
        group: what it is shown together with, see ``engine.mlflow.tree``.
        parse_params: turn params into numbers, bools and None where that can be undone, see ``parsed``.
    """
    text = TextOf(f"run {raw.id}", lose)
    tags = text.mapping(raw.tags)
    params: Mapping[str, Json] = text.mapping(raw.params)
    if parse_params:
        params = {key: parsed(value) for key, value in params.items()}
    latest = text.keys(raw.latest)
    user = text.shown(raw.user_id or tags.get(USER, ""), "user") or None
    return Run(
        id=raw.id,
        namespace=namespace,
        name=text.shown(raw.display_name, "name") if raw.display_name else None,
        state=_STATES.get(raw.status, RunState.FAILED),
        source_state=raw.status or None,
        config=params,
        summary={key: point.value for key, point in latest.items()},
        labels={key: value for key, value in tags.items() if not key.startswith(SYSTEM_PREFIX)},
        notes=text.shown(tags[NOTE], "note") if NOTE in tags else None,
        group=text.shown(group, "group"),
        # The wording of W&B's own importer, so that both kinds of import sit together.
        job_type=f"User {user}" if user else None,
        user=user,
        started_at=raw.start_time,
        ended_at=raw.end_time,
        parent_id=tags.get(PARENT_RUN_ID) or None,
        deleted=raw.lifecycle_stage == DELETED,
        code=Code(
            program=tags.get("mlflow.source.name"),
            commit=tags.get("mlflow.source.git.commit"),
            branch=tags.get("mlflow.source.git.branch"),
            remote=tags.get("mlflow.source.git.repoURL"),
            entry_point=tags.get("mlflow.project.entryPoint"),
        ),
        # Stores list them in no order of their own; sorted, every way in gives the same.
        inputs=tuple(sorted((_clean_input(dataset, text) for dataset in raw.inputs), key=_input_order)),
        extra=_extra(raw, tags),
        url=raw.url,
        locator=latest,
    )


def parsed(value: str) -> Json:
    """A param as the number, bool or None that ``str`` turns back into exactly this text; else the text.

    Integers beyond 2**53 and non-finite floats stay text, because other systems' JSON would change them.
    """
    if value in _CONSTANTS:
        return _CONSTANTS[value]
    if not _NUMBER.fullmatch(value):
        return value
    number: int | float
    try:
        number = int(value)
    except ValueError:
        try:
            number = float(value)
        except ValueError:
            return value
    if str(number) != value or (isinstance(number, int) and abs(number) > _EXACT_INTEGERS):
        return value
    return number


def _extra(raw: RawRun, tags: Mapping[str, str]) -> dict[str, Json]:
    extra: dict[str, Json] = {
        "experiment_id": raw.experiment_id,
        "artifact_uri": raw.artifact_uri,
        "lifecycle_stage": raw.lifecycle_stage,
        "user_id": raw.user_id,
        "start_time": raw.start_time,
        "end_time": raw.end_time,
        "mlflow_tags": {key: value for key, value in tags.items() if key.startswith(SYSTEM_PREFIX)},
    }
    if raw.start_time is not None and raw.end_time is not None and raw.end_time < raw.start_time:
        extra["ended_before_started"] = True
    for name, models in (("model_inputs", raw.model_inputs), ("model_outputs", raw.model_outputs)):
        if models:
            extra[name] = [_model(model) for model in models]
    return extra


def _model(model: RawModel) -> dict[str, Json]:
    return {"model_id": model.model_id} | ({} if model.step is None else {"step": model.step})


def _input_order(dataset: DatasetInput) -> tuple[str, str, str]:
    return dataset.name, dataset.digest, dataset.context or ""


def _clean_input(dataset: DatasetInput, text: TextOf) -> DatasetInput:
    return replace(
        dataset,
        name=text.valid(dataset.name, "dataset name"),
        source=text.valid(dataset.source, "dataset source"),
        tags=text.mapping(dataset.tags),
    )
