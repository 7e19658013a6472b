"""Custom charts: Vega definitions that belong to an entity, and that runs and panels name.

The protocol makes them (``createCustomChart``) but lets nobody list or read them, so that they stay where
they are. Those whose names begin with ``wandb/`` are on every server.

Source: ``wandb/plot/custom_chart.py`` and ``viz.py`` of the SDK for the names in a config; ``CustomChart`` in
``reports/v2/interface.py`` of wandb-workspaces for those in panels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from engine.records import Json

DEFINITION: Final = "panelDefId"
"""Where a panel names its chart."""

LEFT: Final = "custom_chart_left"
"""The kind under which a chart is declared that stays where it is."""


def is_own(name: Json) -> bool:
    """Whether a chart is somebody's own, and not one of those that every server has."""
    return isinstance(name, str) and "/" in name and not name.startswith("wandb/")


def own_charts(internal: Mapping[str, Json]) -> Iterator[str]:
    """Names of the own charts that a run logged, by ``_wandb`` of its config."""
    panels = [_of(logged, "panel_config") for logged in _values(internal.get("visualize"))]
    names = [_of(panel, DEFINITION) for panel in panels]
    names += [_of(logged, "id") for logged in _values(internal.get("viz"))]
    yield from filter(is_own, names)


def _values(logged: Json) -> Iterable[Json]:
    return logged.values() if isinstance(logged, Mapping) else ()


def _of(value: Json, key: str) -> Json:
    return value.get(key) if isinstance(value, Mapping) else None


def why_left(name: str) -> str:
    """What becomes of a chart, in words."""
    return (
        f"the custom chart {name} stays at the source, as no server lets anybody read its definition; "
        "make it again at the destination"
    )
