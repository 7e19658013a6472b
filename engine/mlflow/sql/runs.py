"""Reading MLflow's tables: experiments, and runs with all that belongs to them but their histories.

Runs are looked up in groups by primary key, so that the number of statements does not grow with their number;
a group is cut so that its params, tags and metrics are about ``GROUP_ROWS`` rows together.
"""

# ruff: noqa: S608 - only names of columns and constants are put into statements; values are arguments

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import TypeAlias

from engine.mlflow.points import restored
from engine.mlflow.sql.database import Database, Session
from engine.mlflow.store import (
    ACTIVE,
    DATASET_CONTEXT,
    PARENT_RUN_ID,
    RUN_NAME,
    Kin,
    LatestMetric,
    RawExperiment,
    RawModel,
    RawRun,
)
from engine.records import DatasetInput

ID_PAGE = 20_000
GROUP_RUNS = 500
GROUP_ROWS = 50_000

Schema: TypeAlias = Mapping[str, frozenset[str]]
"""The columns of each table, as inspected; which of them exist depends on the release."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the order of an experiment's runs."""

    start_time: int
    run_id: str


def experiments(session: Session, schema: Schema, *, include_deleted: bool) -> list[RawExperiment]:
    """All experiments by ascending id."""
    workspace = "workspace" if "workspace" in schema["experiments"] else "NULL"
    only_active = "" if include_deleted else f"WHERE lifecycle_stage = '{ACTIVE}'"
    tags: dict[int, dict[str, str]] = defaultdict(dict)
    for experiment_id, key, value in session.rows(
        'SELECT experiment_id, "key", value FROM experiment_tags', "itt"
    ):
        tags[experiment_id][key] = value or ""
    rows = session.rows(
        "SELECT experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time, "
        f"{workspace} FROM experiments {only_active} ORDER BY experiment_id",
        "itttiit",
    )
    return [
        RawExperiment(
            id=str(experiment_id),
            name=name,
            artifact_location=location,
            lifecycle_stage=stage,
            creation_time=created,
            last_update_time=updated,
            tags=tags[experiment_id],
            workspace=workspace or "",
        )
        for experiment_id, name, location, stage, created, updated, workspace in rows
    ]


def run_positions(
    session: Session,
    database: Database,
    experiment_id: str,
    *,
    after: Position | None,
    since: int | None,
    include_deleted: bool,
) -> list[Position]:
    """The next runs of an experiment by (start time, id): at most ``ID_PAGE``, fewer only at the end."""
    when = database.start_time
    conditions = ["experiment_id = ?"]
    args: list[str | int] = [int(experiment_id)]
    if not include_deleted:
        conditions.append(f"lifecycle_stage = '{ACTIVE}'")
    if since is not None:
        conditions.append(f"start_time IS NOT NULL AND {when} >= ?")
        args.append(since)
    if after is not None:
        conditions.append(f"({when} > ? OR ({when} = ? AND run_uuid > ?))")
        args += [after.start_time, after.start_time, after.run_id]
    rows = session.rows(
        f"SELECT {when}, run_uuid FROM runs WHERE {' AND '.join(conditions)} "
        f"ORDER BY {when}, run_uuid LIMIT {ID_PAGE}",
        "it",
        args,
    )
    return [Position(*row) for row in rows]


def groups(session: Session, run_ids: Sequence[str]) -> list[list[str]]:
    """Cut ids, at most ``GROUP_RUNS`` of them, into groups whose rows fit in memory together."""
    marks = _marks(run_ids)
    sizes: dict[str, int] = defaultdict(int)
    for table in ("latest_metrics", "params", "tags"):
        for run_id, count in session.rows(
            f"SELECT run_uuid, COUNT(*) FROM {table} WHERE run_uuid IN ({marks}) GROUP BY run_uuid",
            "ti",
            run_ids,
        ):
            sizes[run_id] += count
    found: list[list[str]] = []
    rows = 0
    for run_id in run_ids:
        if not found or rows + sizes[run_id] > GROUP_ROWS:
            found.append([])
            rows = 0
        found[-1].append(run_id)
        rows += sizes[run_id]
    return found


def runs(session: Session, schema: Schema, run_ids: Sequence[str]) -> list[RawRun]:
    """These runs, whole, in this order; ids that are gone are left out.

    Raises:
        BadCell: a value is not what its column promises.
    """
    marks = _marks(run_ids)
    params = _texts(session, "params", run_ids)
    tags = _texts(session, "tags", run_ids)
    latest = _latest_metrics(session, run_ids)
    inputs: Mapping[str, list[DatasetInput]] = {}
    models_in: Mapping[str, list[RawModel]] = {}
    models_out: Mapping[str, list[RawModel]] = {}
    if "inputs" in schema:
        inputs = _dataset_inputs(session, run_ids)
        models_in = _models(session, run_ids, "RUN_INPUT", step="NULL")
        models_out = _models(
            session, run_ids, "RUN_OUTPUT", step="step" if "step" in schema["inputs"] else "NULL"
        )
    rows = session.rows(
        "SELECT run_uuid, experiment_id, name, status, start_time, end_time, user_id, lifecycle_stage, "
        f"artifact_uri FROM runs WHERE run_uuid IN ({marks})",
        "tittiittt",
        run_ids,
    )
    found = {
        run_id: RawRun(
            id=run_id,
            experiment_id=str(experiment_id),
            name=name,
            status=status or "",
            start_time=start,
            end_time=end,
            user_id=user,
            lifecycle_stage=stage or ACTIVE,
            artifact_uri=artifact_uri,
            params=params.get(run_id, {}),
            tags=tags.get(run_id, {}),
            latest=latest.get(run_id, {}),
            inputs=tuple(inputs.get(run_id, ())),
            model_inputs=tuple(models_in.get(run_id, ())),
            model_outputs=tuple(models_out.get(run_id, ())),
        )
        for run_id, experiment_id, name, status, start, end, user, stage, artifact_uri in rows
    }
    return [found[run_id] for run_id in run_ids if run_id in found]


def parents(session: Session, experiment_id: str) -> set[str]:
    """The ids that runs of an experiment name as their parent."""
    rows = session.rows(
        "SELECT DISTINCT t.value FROM tags AS t JOIN runs AS r ON r.run_uuid = t.run_uuid "
        'WHERE t."key" = ? AND r.experiment_id = ?',
        "t",
        [PARENT_RUN_ID, int(experiment_id)],
    )
    return {parent for (parent,) in rows if parent}


def kin(session: Session, run_ids: Sequence[str]) -> dict[str, Kin]:
    """Names and parents of at most ``GROUP_RUNS`` runs."""
    marks = _marks(run_ids)
    tags: dict[str, dict[str, str]] = defaultdict(dict)
    for run_id, key, value in session.rows(
        f'SELECT run_uuid, "key", value FROM tags WHERE run_uuid IN ({marks}) AND "key" IN (?, ?)',
        "ttt",
        [*run_ids, PARENT_RUN_ID, RUN_NAME],
    ):
        tags[run_id][key] = value
    rows = session.rows(f"SELECT run_uuid, name FROM runs WHERE run_uuid IN ({marks})", "tt", run_ids)
    return {
        run_id: Kin(name or tags[run_id].get(RUN_NAME) or None, tags[run_id].get(PARENT_RUN_ID) or None)
        for run_id, name in rows
    }


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def _texts(session: Session, table: str, run_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Params or tags."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for run_id, key, value in session.rows(
        f'SELECT run_uuid, "key", value FROM {table} WHERE run_uuid IN ({_marks(run_ids)}) '
        'ORDER BY run_uuid, "key"',
        "ttt",
        run_ids,
    ):
        found[run_id][key] = value or ""
    return found


def _latest_metrics(session: Session, run_ids: Sequence[str]) -> dict[str, dict[str, LatestMetric]]:
    found: dict[str, dict[str, LatestMetric]] = defaultdict(dict)
    for run_id, key, value, timestamp, step, is_nan in session.rows(
        'SELECT run_uuid, "key", value, timestamp, step, is_nan FROM latest_metrics '
        f'WHERE run_uuid IN ({_marks(run_ids)}) ORDER BY run_uuid, "key"',
        "ttfiii",
        run_ids,
    ):
        found[run_id][key] = LatestMetric(_float(value, is_nan=bool(is_nan)), timestamp or 0, step or 0)
    return found


def _float(value: float | None, *, is_nan: bool) -> float:
    """As in a history: NaN by its flag."""
    return nan if is_nan or value is None else restored(value)


def _dataset_inputs(session: Session, run_ids: Sequence[str]) -> dict[str, list[DatasetInput]]:
    marks = _marks(run_ids)
    linked = "i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id IN"
    tags: dict[str, dict[str, str]] = defaultdict(dict)
    for input_id, name, value in session.rows(
        "SELECT t.input_uuid, t.name, t.value FROM input_tags AS t "
        f"WHERE t.input_uuid IN (SELECT i.input_uuid FROM inputs AS i WHERE {linked} ({marks}))",
        "ttt",
        run_ids,
    ):
        tags[input_id][name] = value or ""
    found: dict[str, list[DatasetInput]] = defaultdict(list)
    for run_id, input_id, name, digest, source_type, source, schema, profile in session.rows(
        "SELECT i.destination_id, i.input_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source, "
        "d.dataset_schema, d.dataset_profile "
        "FROM inputs AS i JOIN datasets AS d ON d.dataset_uuid = i.source_id "
        f"WHERE {linked} ({marks}) ORDER BY i.destination_id, d.name, d.digest, i.input_uuid",
        "tttttttt",
        run_ids,
    ):
        of_input = tags[input_id]
        found[run_id].append(
            DatasetInput(
                name=name,
                digest=digest,
                source_type=source_type,
                source=source,
                schema=schema,
                profile=profile,
                context=of_input.get(DATASET_CONTEXT),
                tags={key: value for key, value in of_input.items() if key != DATASET_CONTEXT},
            )
        )
    return found


def _models(session: Session, run_ids: Sequence[str], link: str, *, step: str) -> dict[str, list[RawModel]]:
    """The logged models that runs read or made; the run is the source of both kinds of link."""
    found: dict[str, list[RawModel]] = defaultdict(list)
    for run_id, model_id, at in session.rows(
        f"SELECT source_id, destination_id, {step} FROM inputs WHERE source_type = '{link}' "
        f"AND source_id IN ({_marks(run_ids)}) ORDER BY source_id, destination_id",
        "tti",
        run_ids,
    ):
        found[run_id].append(RawModel(model_id=model_id, step=at))
    return found
