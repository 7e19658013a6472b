"""Where config keys, metrics and tags are named besides the config, the summary and the history of a run: in
what W&B's own client keeps in the config, and in reports and saved views.

Source: ``MetricRecord`` in ``wandb/proto/wandb_internal.proto`` of the SDK, whose field numbers are the keys
of a definition: 1 is the name of a metric, 4 that of its step metric; ``reports/v2/internal.py`` of
wandb-workspaces for views.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from engine.records import Json, Run
from engine.remapping.rules import ALIASES, ARTIFACTS, CONFIG, METRICS, TAGS, Remapping, Rules
from engine.reports import View
from engine.wandb import artifact_uris
from engine.wandb.mapping import WANDB

_NAMES: Final = ("1", "4")

_METRIC_FIELDS: Final = frozenset({"xAxis", "yAxis", "zAxis", "metric", "metrics", "mediaKeys"})
_COLUMN_FIELDS: Final = frozenset({"columnVisible", "columnPinned", "columnWidths", "columnOrder"})
_METRIC_SECTIONS: Final = frozenset({"summary", "history", "keys_info"})


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


def renamed_view(view: View, remapping: Remapping) -> View:
    """A view whose panels, filters, columns, sortings and references to artifacts go by the new names.

    Texts and expressions that people wrote are left as they are.
    """
    return replace(
        view,
        spec=_ViewNames(remapping).of(view.spec),
        artifacts={uri: renamed_reference(named, remapping) for uri, named in view.artifacts.items()},
    )


def renamed_reference(text: str, remapping: Remapping) -> str:
    """A text whose ``wandb-artifact://`` references go by the new names."""
    return artifact_uris.renamed(text, remapping[ARTIFACTS].of, remapping[ALIASES].of)


class _ViewNames:
    def __init__(self, remapping: Remapping) -> None:
        self._rules = remapping

    def of(self, value: Json) -> Json:
        if isinstance(value, str):
            return renamed_reference(value, self._rules)
        if isinstance(value, list):
            return [self.of(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        found = {key: self._field(key, item) for key, item in value.items()}
        section, name, key = value.get("section"), value.get("name"), value.get("key")
        if isinstance(section, str) and isinstance(name, str):
            found["name"] = self._name(section, name)
        if isinstance(key, Mapping) and key.get("section") == "run" and key.get("name") == "tags":
            found["value"] = self._each(TAGS, value.get("value"))
        return found

    def _field(self, key: str, value: Json) -> Json:
        if key in _METRIC_FIELDS and (isinstance(value, str) or _is_texts(value)):
            return self._each(METRICS, value)
        if key in _COLUMN_FIELDS and isinstance(value, Mapping):
            return {self._column(column): item for column, item in value.items()}
        if key in _COLUMN_FIELDS and _is_texts(value):
            return [self._column(column) for column in value]
        return self.of(value)

    def _each(self, section: str, value: Json) -> Json:
        if isinstance(value, str):
            return self._rules[section].of(value)
        return [self._each(section, item) for item in value] if isinstance(value, list) else value

    def _column(self, column: str) -> str:
        """``summary:loss``, ``config:lr.value``."""
        section, colon, name = column.partition(":")
        return f"{section}:{self._name(section, name)}" if colon else column

    def _name(self, section: str, name: str) -> str:
        if section in _METRIC_SECTIONS:
            return self._rules[METRICS].of(name)
        if section != "config":
            return name
        # The app writes ``lr.value``, as a config keeps its values one level down.
        plain = name.removesuffix(".value")
        return self._rules[CONFIG].of(plain) + name[len(plain) :]


def _is_texts(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
