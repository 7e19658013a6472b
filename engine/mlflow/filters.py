"""MLflow's run filter language, decided in Python by MLflow's own parser.

SQL and file stores are filtered here, so that both give what an MLflow server gives for a file store.
``mlflow`` is imported only when a filter is used: it takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace

from engine.errors import ConfigError
from engine.mlflow.store import DATASET_CONTEXT, RawRun


@dataclass(frozen=True, slots=True)
class RunFilter:
    """An MLflow filter string that was checked; made by ``parse_filter``."""

    text: str

    def select(self, runs: Sequence[RawRun]) -> list[RawRun]:
        """Those of the runs that match, in their order. Parsing is paid once a call: pass whole pages."""
        from mlflow.utils.search_utils import SearchUtils

        matching = SearchUtils.filter([_as_mlflow_sees_it(run) for run in runs], self.text)
        return [entity.raw for entity in matching]


@lru_cache(maxsize=16)
def parse_filter(text: str) -> RunFilter:
    """Check a filter string.

    Raises:
        ConfigError: MLflow would refuse it.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.utils.search_utils import SearchUtils

    try:
        for clause in SearchUtils.parse_search_filter(text):
            kind, comparator = clause["type"], clause["comparator"].upper()
            # Each of these raises for its own kind if the comparator does not suit it.
            SearchUtils.is_metric(kind, comparator)
            SearchUtils.is_param(kind, comparator)
            SearchUtils.is_tag(kind, comparator)
            SearchUtils.is_dataset(kind, comparator)
            SearchUtils.is_attribute(kind, SearchUtils.translate_key_alias(clause["key"]), comparator)
    except MlflowException as error:
        raise ConfigError(
            f"the run filter {text!r} is not valid: {error.message}",
            remedy="write it as for MLflow's search: metrics.loss < 0.1 and params.lr = '0.01'",
            exc=error,
        ) from error
    return RunFilter(text)


def _as_mlflow_sees_it(run: RawRun) -> SimpleNamespace:
    """The attributes of ``mlflow.entities.Run`` that its matcher looks at."""
    return SimpleNamespace(
        raw=run,
        info=SimpleNamespace(
            run_id=run.id,
            run_name=run.display_name,
            status=run.status,
            artifact_uri=run.artifact_uri,
            user_id=run.user_id,
            start_time=run.start_time,
            end_time=run.end_time,
        ),
        data=SimpleNamespace(
            metrics={key: point.value for key, point in run.latest.items()},
            params=run.params,
            tags=run.tags,
        ),
        inputs=SimpleNamespace(
            dataset_inputs=[
                SimpleNamespace(
                    dataset=SimpleNamespace(name=dataset.name, digest=dataset.digest),
                    tags=[SimpleNamespace(key=DATASET_CONTEXT, value=dataset.context)]
                    if dataset.context is not None
                    else [],
                )
                for dataset in run.inputs
            ]
        ),
    )
