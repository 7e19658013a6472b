"""A line chart as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_WIDTH, _HEIGHT = 320.0, 120.0
_LEFT, _BOTTOM = 46.0, 14.0


class Point(NamedTuple):
    """One value at one step."""

    step: float
    value: float


def line_chart(points: Sequence[Point]) -> str:
    """Finite points joined by a line; a gap where a value is not finite."""
    finite = [point for point in points if math.isfinite(point.value)]
    if not finite:
        return "<svg viewBox='0 0 320 20'><text x='0' y='14'>no finite value</text></svg>"
    low, high = min(point.value for point in finite), max(point.value for point in finite)
    first, last = finite[0].step, finite[-1].step
    span_x, span_y = (last - first) or 1.0, (high - low) or 1.0
    path, drawing = [], False
    for point in points:
        if not math.isfinite(point.value):
            drawing = False
            continue
        x = _LEFT + (point.step - first) / span_x * (_WIDTH - _LEFT - 4)
        y = 6 + (high - point.value) / span_y * (_HEIGHT - _BOTTOM - 12)
        path.append(f"{'L' if drawing else 'M'}{x:.1f} {y:.1f}")
        drawing = True
    if len(finite) == 1:
        path.append("h3")
    bottom = _HEIGHT - _BOTTOM
    return (
        f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img">'
        f'<text x="0" y="12">{high:.4g}</text><text x="0" y="{bottom:.0f}">{low:.4g}</text>'
        f'<text x="{_LEFT:.0f}" y="{_HEIGHT - 2:.0f}">{first:g}</text>'
        f'<text x="{_WIDTH - 4:.0f}" y="{_HEIGHT - 2:.0f}" text-anchor="end">{last:g}</text>'
        f'<path d="{" ".join(path)}"/></svg>'
    )
