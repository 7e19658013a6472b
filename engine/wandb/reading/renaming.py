"""Where config keys, metrics and tags are named besides the config, the summary and the history of a run: in
what W&B's own client keeps in the config, in sweeps, and in reports and saved views.

Source: ``MetricRecord`` in ``wandb/proto/wandb_internal.proto`` of the SDK, whose field numbers are the keys
of a definition: 1 is the name of a metric, 2 a pattern of names, 4 the name of the step metric; for labels of
masks and boxes ``wandb/sdk/data_types/helper_types`` of it, for custom charts ``plot/custom_chart.py``;
``reports/v2/internal.py`` of wandb-workspaces for views.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import yaml

from engine.errors import Conflict, Side
from engine.records import Json, Run
from engine.remapping.rules import ALIASES, ARTIFACTS, CONFIG, METRICS, TAGS, Remapping, Rules
from engine.reports import Sweep, View
from engine.wandb import artifact_uris
from engine.wandb.jsontext import encode_json
from engine.wandb.mapping import WANDB

_NAMES: Final = ("1", "2", "4")

_CHARTS: Final = "visualize"
_LABELS: Final = ("mask/class_labels", "bounding_box/class_labels")
_OF_LABELS: Final = "_wandb_delimeter_"
"""Between the metric of an image and the name of a mask."""

_METRIC_FIELDS: Final = frozenset({"xAxis", "yAxis", "zAxis", "metric", "metrics", "mediaKeys", "targetKey"})
_COLUMNS: Final = frozenset({"accessor", "legendFields"})
_QUERIED: Final = frozenset({"tableKey", "keys"})
"""Arguments of the query of a custom chart that are metrics."""
_COLUMN_FIELDS: Final = frozenset({"columnVisible", "columnPinned", "columnWidths", "columnOrder"})
_METRIC_SECTIONS: Final = frozenset({"summary", "history", "keys_info"})
_SECTIONS: Final = _METRIC_SECTIONS | {"config", "run"}


def renamed(run: Run, config: Mapping[str, str], metrics: Rules) -> Run:
    """A run whose definitions, charts, labels and descriptions go by the new names.

    Args:
        config: those keys of the config that got another name.
    """
    kept: dict[str, Json] = dict(run.extra.get(WANDB) or {})
    if descriptions := kept.get("descriptions"):
        kept["descriptions"] = {config.get(key, key): text for key, text in descriptions.items()}
    own = kept.get("_wandb")
    if metrics and isinstance(own, dict):
        kept["_wandb"] = _own(own, metrics)
    return replace(run, extra={**run.extra, WANDB: kept})


def _own(own: Mapping[str, Json], metrics: Rules) -> dict[str, Json]:
    """What W&B's client keeps in the config for itself."""
    found = dict(own)
    if isinstance(own.get("m"), list):
        found["m"] = [_definition(each, metrics) for each in own["m"]]
    if isinstance(own.get(_CHARTS), dict):
        names = _ViewNames(Remapping({METRICS: metrics}))
        found[_CHARTS] = {metrics.of(key): names.of(chart) for key, chart in own[_CHARTS].items()}
    for kind in _LABELS:
        if isinstance(own.get(kind), dict):
            found[kind] = {
                _labelled(key, metrics): _with_key(labels, metrics) for key, labels in own[kind].items()
            }
    return found


def _labelled(key: str, metrics: Rules) -> str:
    metric, delimiter, mask = key.partition(_OF_LABELS)
    return f"{metrics.of(metric)}{delimiter}{mask}"


def _with_key(labels: Json, metrics: Rules) -> Json:
    if isinstance(labels, dict) and isinstance(labels.get("key"), str):
        return labels | {"key": _labelled(labels["key"], metrics)}
    return labels


def renamed_sweep(sweep: Sweep, remapping: Remapping) -> Sweep:
    """A sweep whose parameters and whose metric go by the new names.

    Raises:
        Conflict: two parameters would get the same.
    """
    config, metrics = remapping[CONFIG], remapping[METRICS]
    told = yaml.safe_load(sweep.config)
    if not isinstance(told, dict):
        return sweep
    found = dict(told)
    if isinstance(parameters := told.get("parameters"), dict):
        found["parameters"] = {config.of(str(name)): values for name, values in parameters.items()}
        if len(found["parameters"]) < len(parameters):
            raise Conflict(
                "two of its parameters would get the same name",
                side=Side.SOURCE,
                subject=str(sweep),
                remedy="choose another name in the mapping; see engine map explain",
            )
    if isinstance(metric := told.get("metric"), dict) and isinstance(metric.get("name"), str):
        found["metric"] = metric | {"name": metrics.of(metric["name"])}
    # As people wrote it, if nothing of it changes.
    return sweep if found == told else replace(sweep, config=yaml.safe_dump(found, sort_keys=False))


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
        if isinstance(key, Mapping) and _is_of_tags(key):
            found["value"] = self._each(TAGS, value.get("value"))
        if isinstance(fields := value.get("fieldSettings"), Mapping) and not _asks_for_a_table(value):
            # Of a table they are its columns.
            found["fieldSettings"] = {field: self._each(METRICS, key) for field, key in fields.items()}
        return found

    def _field(self, key: str, value: Json) -> Json:
        if key in _METRIC_FIELDS and (isinstance(value, str) or _is_texts(value)):
            return self._metrics(value)
        if key in _COLUMNS and (isinstance(value, str) or _is_texts(value)):
            return self._column(value) if isinstance(value, str) else [self._column(one) for one in value]
        if key == "groupBy" and isinstance(value, str):
            return self._column(value) if _is_column(value) else self._name("config", value)
        if key == "queryFields":
            return self._query(value)
        if key in _COLUMN_FIELDS and isinstance(value, Mapping):
            return {self._column(column): item for column, item in value.items()}
        if key in _COLUMN_FIELDS and _is_texts(value):
            return [self._column(column) for column in value]
        return self.of(value)

    def _each(self, section: str, value: Json) -> Json:
        if isinstance(value, str):
            return self._rules[section].of(value)
        return [self._each(section, item) for item in value] if isinstance(value, list) else value

    def _metrics(self, value: Json) -> Json:
        """Metrics, or columns of any kind, as the axes of some panels are."""
        if isinstance(value, list):
            return [self._metrics(item) for item in value]
        return self._column(value) if _is_column(value) else self._each(METRICS, value)

    def _query(self, value: Json) -> Json:
        """What a custom chart asks for."""
        if isinstance(value, list):
            return [self._query(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        if value.get("name") in _QUERIED and "value" in value:
            return {**value, "value": self._each(METRICS, value["value"])}
        return {key: self._query(item) for key, item in value.items()}

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


def _is_of_tags(key: Mapping[str, Json]) -> bool:
    """The key of a filter; ``tags`` is the section of newer ones."""
    return key.get("section") == "tags" or (key.get("section") == "run" and key.get("name") == "tags")


def _is_column(text: str) -> bool:
    return text.partition(":")[0] in _SECTIONS and ":" in text


def _asks_for_a_table(chart: Mapping[str, Json]) -> bool:
    return "tableKey" in encode_json(chart.get("userQuery"))


def _is_texts(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
