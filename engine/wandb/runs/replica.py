"""What becomes of a run that was W&B's already: the same run.

Rows, config with W&B's own block, summary, tags and notes go as they are, but for the ids by which rows and
summaries speak of artifacts, see ``engine.wandb.own_ids``. Only ``_import`` is added to the config: where the
run was, who made it and when, for none of that can be set by anybody. A run that came from elsewhere before
has its first origin in ``_import.origin``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.records import Json, Namespace, Run
from engine.wandb.charts import LEFT, own_charts, why_left
from engine.wandb.history.rows import INTERNAL_KEYS, LastRow, RowSequence, encode_row
from engine.wandb.jsontext import Plain
from engine.wandb.mapping import PROVENANCE, WANDB, RunMapping
from engine.wandb.own_ids import localised, localised_row


def is_replica(run: Run) -> bool:
    """Whether a run was W&B's already, even if it comes from an archive now."""
    return WANDB in run.extra


@dataclass(slots=True, kw_only=True)
class ReplicaMapping(RunMapping):
    """One run as another W&B server had it."""

    _own: dict[str, Json] = field(init=False)
    """``_wandb`` of the config."""

    def __post_init__(self) -> None:
        RunMapping.__post_init__(self)
        if self.run.sweep is not None and self.sweep is None:
            self.lose("sweep_dropped", f"of sweep {self.run.sweep!r}, which {PROVENANCE} tells")
        for chart in sorted({*own_charts(self._own)}):
            self.lose(LEFT, why_left(chart))

    def _user_config(self, plain: Plain) -> dict[str, Json]:
        kept = self.run.extra[WANDB]
        self._own = plain.of(kept.get("_wandb") or {"t": {"3": []}})
        descriptions = kept.get("descriptions", {})
        config: dict[str, Json] = plain.of(kept.get("raw", {}))
        for key, value in self.run.config.items():
            if key != PROVENANCE:
                entry = {"value": value}
                if key in descriptions:
                    entry["desc"] = descriptions[key]
                config[plain.text(key)] = plain.of(entry)
        return config

    def _internal_config(self) -> dict[str, Json]:
        return self._own

    def _provenance(self, plain: Plain) -> dict[str, Json]:
        told = RunMapping._provenance(self, plain)
        extra = {name: value for name, value in told.pop("extra", {}).items() if name != WANDB}
        own = {"description": self.run.extra[WANDB].get("description"), "extra": extra}
        if PROVENANCE in self.run.config:
            own["origin"] = plain.of(self.run.config[PROVENANCE])
        return told | {name: value for name, value in own.items() if value}

    def environment(self) -> dict[str, Json]:
        environments = self._own.get("e")
        if isinstance(environments, dict) and environments:
            first: dict[str, Json] = next(iter(environments.values()))
            return first
        return RunMapping.environment(self)

    def row_sequence(self) -> RowSequence:
        return SameRows(step_column="", place=self.place)

    def own_summary(self) -> Mapping[str, Json] | None:
        summary: Mapping[str, Json] | None = localised(self.run.summary, self.place)
        return summary

    def internal_summary(self, last: LastRow) -> dict[str, Json]:  # noqa: ARG002 - the summary has its own
        return {}


@dataclass(slots=True, kw_only=True)
class SameRows(RowSequence):
    """Rows as they are, whatever their steps.

    Args:
        place: the project that they go to, by whose ids they speak of artifacts.
    """

    place: Namespace

    def line(self, row: Mapping[str, Json]) -> tuple[str, int]:
        values = sum(value is not None and key not in INTERNAL_KEYS for key, value in row.items())
        return encode_row(localised_row(row, self.place)), values
