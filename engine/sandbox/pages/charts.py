"""Curves of a run, and line charts as inline SVG."""

from __future__ import annotations

import fnmatch
import html
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from engine.sandbox.database import Database
from engine.sandbox.runs import history
from engine.sandbox.runs.history import Decimation, Steps

_WIDTH, _HEIGHT = 320.0, 120.0
_LEFT, _BOTTOM = 46.0, 14.0
_SAMPLES = 300

STEP = "_step"


class Point(NamedTuple):
    """One value of a metric; ``value`` may be non-finite."""

    x: float
    value: float


class Curve(NamedTuple):
    """The values of a metric over another one, its axis."""

    name: str
    axis: str
    points: list[Point]


async def curves(
    db: Database, run: int, metrics: Sequence[str], definitions: Sequence[Mapping[str, Any]]
) -> list[Curve]:
    """Thinned curves of some metrics, in one pass over the history.

    Args:
        definitions: what ``define_metric`` left in the config under ``_wandb.m``: "1" is a name, "2" a
            pattern, "5" the position, from 1, of the metric that serves as the axis.
    """
    axes = {metric: _axis(metric, definitions) for metric in metrics}
    kept = {metric: Decimation[Point](_SAMPLES) for metric in metrics}
    async for row in history.read(db, run, Steps()):
        numbers = dict(_numbers(row))
        for metric in numbers.keys() & kept.keys():
            x = numbers.get(axes[metric])
            if x is not None and math.isfinite(x):
                kept[metric].add(Point(x, numbers[metric]))
    found = [Curve(metric, axes[metric], sorted(kept[metric].rows(), key=_x)) for metric in metrics]
    return [curve for curve in found if curve.points]


def _axis(metric: str, definitions: Sequence[Mapping[str, Any]]) -> str:
    by_name = (each for each in definitions if each.get("1") == metric)
    by_pattern = (each for each in definitions if fnmatch.fnmatchcase(metric, each.get("2") or ""))
    for definition in (*by_name, *by_pattern):
        position = definition.get("5")
        if isinstance(position, int) and 1 <= position <= len(definitions):
            axis = definitions[position - 1].get("1")
            if isinstance(axis, str) and axis != metric:
                return axis
    return STEP


def _numbers(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in row.items():
        if type(value) in (int, float):
            yield prefix + key, value
        elif type(value) is dict and "_type" not in value:
            yield from _numbers(value, f"{prefix}{key}.")


def _x(point: Point) -> float:
    return point.x


def figure(curve: Curve) -> str:
    """A curve with its name."""
    caption = f"<figcaption>{html.escape(curve.name)}</figcaption>"
    return f"<figure>{caption}{_line_chart(curve.points, curve.axis)}</figure>"


def _line_chart(points: Sequence[Point], axis: str) -> str:
    """Finite points joined by a line; a gap where a value is not finite, a dot where one stands alone."""
    finite = [point for point in points if math.isfinite(point.value)]
    if not finite:
        return '<svg viewBox="0 0 320 20"><text x="0" y="14">no finite value</text></svg>'
    low, high = min(point.value for point in finite), max(point.value for point in finite)
    first, last = points[0].x, points[-1].x
    span_x, span_y = (last - first) or 1.0, (high - low) or 1.0

    def place(point: Point) -> str:
        x = _LEFT + (point.x - first) / span_x * (_WIDTH - _LEFT - 4)
        y = 6 + (high - point.value) / span_y * (_HEIGHT - _BOTTOM - 12)
        return f"{x:.1f} {y:.1f}"

    lines, dots = [], []
    for stretch in _stretches(points):
        places = [place(point) for point in stretch]
        if len(places) == 1:
            x, y = places[0].split()
            dots.append(f'<circle cx="{x}" cy="{y}" r="2"/>')
        else:
            lines.append("M" + "L".join(places))
    bottom = _HEIGHT - _BOTTOM
    middle = (_LEFT + _WIDTH - 4) / 2
    return (
        f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img">'
        f'<text x="0" y="12">{high:.4g}</text><text x="0" y="{bottom:.0f}">{low:.4g}</text>'
        f'<text x="{_LEFT:.0f}" y="{_HEIGHT - 2:.0f}">{first:g}</text>'
        f'<text x="{middle:.0f}" y="{_HEIGHT - 2:.0f}" text-anchor="middle">{html.escape(axis)}</text>'
        f'<text x="{_WIDTH - 4:.0f}" y="{_HEIGHT - 2:.0f}" text-anchor="end">{last:g}</text>'
        f'<path d="{"".join(lines)}"/>{"".join(dots)}</svg>'
    )


def _stretches(points: Sequence[Point]) -> Iterator[list[Point]]:
    stretch: list[Point] = []
    for point in points:
        if math.isfinite(point.value):
            stretch.append(point)
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch
