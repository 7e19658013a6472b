"""Where a run names config keys and metrics besides its config, summary and history: in what W&B's own client
keeps in the config.

Source: ``MetricRecord`` in ``wandb/proto/wandb_internal.proto`` of the SDK, whose field numbers are the keys
of a definition: 1 is the name of a metric, 4 that of its step metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from engine.records import Json, Run
from engine.remapping.rules import Rules
from engine.wandb.mapping import WANDB

_NAMES: Final = ("1", "4")


def renamed(run: Run, config: Mapping[str, str], metrics: Rules) -> Run:
    """A run whose definitions and descriptions go by the new names.

    Args:
        config: those keys of the config that got another name.
    """
    kept: dict[str, Json] = dict(run.extra.get(WANDB) or {})
    if descriptions := kept.get("descriptions"):
        kept["descriptions"] = {config.get(key, key): text for key, text in descriptions.items()}
    own = kept.get("_wandb")
    if metrics and isinstance(own, dict) and isinstance(own.get("m"), list):
        kept["_wandb"] = own | {"m": [_definition(each, metrics) for each in own["m"]]}
    return replace(run, extra={**run.extra, WANDB: kept})


def _definition(definition: Json, metrics: Rules) -> Json:
    if not isinstance(definition, dict):
        return definition
    # A name that holds a dot which is no path has it escaped.
    named = {field: definition[field] for field in _NAMES if isinstance(definition.get(field), str)}
    return definition | {
        field: metrics.of(name.replace("\\.", ".")).replace(".", "\\.") if "\\." in name else metrics.of(name)
        for field, name in named.items()
    }
