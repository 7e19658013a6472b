"""Charts as inline SVG, and what stands around them.

The drawing stretches with its place while lines keep their width (``vector-effect``); labels are not part of
it but HTML beside it, so that they stay as large as the text on any screen and on paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

WIDTH = 1000
"""Units of the drawing; all heights are its hundredths."""

TABLE_ROWS = 12

ROOMY = 100
"""Pixels of height from which on a chart has all labels and a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A label at so many per cent of an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A span of time that is shaded, in units of the drawing. ``label`` says why."""

    begin: float
    width: float
    label: str

    @classmethod
    def of(cls, begin_s: float, end_s: float, label: str, duration_s: float) -> Band:
        scale = WIDTH / duration_s
        return cls(begin=begin_s * scale, width=max(2.0, (end_s - begin_s) * scale), label=label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One series: an ``area``, a ``line`` or ``bars``; None is a gap."""

    name: str
    kind: str
    values: Sequence[float | None]
    style: str = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A path of SVG and its class."""

    style: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Everything that a template needs.

    Attributes:
        note: the figures that matter, in words.
        number: no other chart of the page has it.
        shapes: the paths to draw, by class.
        rows: the same as a table, thinned; the first cell is the time.
    """

    title: str
    note: str
    number: int
    shapes: tuple[Shape, ...]
    height: int
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    layers: tuple[Layer, ...]
    rows: tuple[tuple[str, ...], ...] = ()
    bands: tuple[Band, ...] = ()
    strip: bool = False

    @property
    def marks(self) -> tuple[Tick, ...]:
        """As many ticks of the values as there is room for."""
        return self.y_ticks if self.height >= ROOMY else (*self.y_ticks[:1], *self.y_ticks[1:][-1:])

    @property
    def description(self) -> str:
        """For those who do not see it."""
        return f"{self.note}. Shows {', '.join(layer.name for layer in self.layers)} over time."


@dataclass(slots=True)
class Plotter:
    """Draws charts that share one time axis.

    Args:
        duration_s: the length of the axis.
        bands: shaded in each of them.
    """

    duration_s: float
    bands: tuple[Band, ...] = ()
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def chart(
        self,
        title: str,
        layers: Iterable[Layer],
        note: str,
        label: Callable[[float], str],
        *,
        height: int = 140,
        least: float = 1.0,
    ) -> Chart:
        """A chart with both axes."""
        layers = tuple(layers)
        top, marks = _scale(max([least, *(value for layer in layers for value in layer.values if value)]))
        return Chart(
            title=title,
            note=note,
            number=next(self._numbers),
            shapes=tuple(_shape(layer, top) for layer in layers),
            height=height,
            x_ticks=self.x_ticks(),
            y_ticks=tuple(Tick(at=100 - 100 * mark / top, label=label(mark)) for mark in marks),
            layers=layers,
            rows=tuple(self._rows(layers, label)),
            bands=self.bands,
        )

    def strip(self, title: str, layer: Layer, note: str, *, height: int = 26) -> Chart:
        """Bars without an axis of values, to hang under a chart: where and how much, relatively."""
        top = max([1e-9, *(value for value in layer.values if value)])
        # What is not nothing must be seen.
        values = [value and max(0.18 * top, value) for value in layer.values]
        shown = Layer(name=layer.name, kind="bars", values=values, style=layer.style)
        return Chart(
            title=title,
            note=note,
            number=next(self._numbers),
            shapes=(_shape(shown, top),),
            height=height,
            x_ticks=(),
            y_ticks=(),
            layers=(layer,),
            strip=True,
        )

    def x_ticks(self) -> tuple[Tick, ...]:
        """Some round times from the beginning."""
        step, unit, length = _time_step(self.duration_s)
        times = [n * step for n in range(int(self.duration_s / step) + 1)]
        return tuple(
            Tick(at=100 * at / self.duration_s, label=f"{at / length:g} {unit}" if at else "0")
            for at in times
        )

    def _rows(self, layers: Sequence[Layer], label: Callable[[float], str]) -> Iterable[tuple[str, ...]]:
        steps = len(layers[0].values)
        every = max(1, math.ceil(steps / TABLE_ROWS))
        _, unit, length = _time_step(self.duration_s)
        for begin in range(0, steps, every):
            end = min(steps, begin + every)
            since, until = (self.duration_s * at / steps / length for at in (begin, end))
            yield (
                f"{since:.4g}–{until:.4g} {unit}",
                *(_mean(layer.values[begin:end], label) for layer in layers),
            )


def _mean(values: Sequence[float | None], label: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    return label(sum(known) / len(known)) if known else "–"


def _scale(peak: float) -> tuple[float, list[float]]:
    """The top of an axis and its two or three round marks."""
    magnitude = 10 ** math.floor(math.log10(peak))
    step = next(s * magnitude for s in (0.25, 0.5, 1.0, 2.0, 2.5, 5.0) if peak / (s * magnitude) <= 3.2)
    marks = [step * n for n in range(int(peak / step + 1e-9) + 1)]
    return max(peak * 1.04, marks[-1]), marks


def _time_step(duration_s: float) -> tuple[float, str, float]:
    """The distance of ticks, their unit, and its length; all in seconds."""
    for length, unit, steps in (
        (1, "s", (1, 2, 5, 10, 20)),
        (60, "min", (0.5, 1, 2, 5, 10, 20)),
        (3_600, "h", (0.5, 1, 2, 6)),
        (86_400, "d", (0.5, 1, 2, 7)),
    ):
        for step in steps:
            if duration_s / (step * length) <= 7:
                return step * length, unit, length
    return 86_400 * math.ceil(duration_s / 86_400 / 7), "d", 86_400


def _shape(layer: Layer, top: float) -> Shape:
    values = layer.values
    width = WIDTH / max(1, len(values))
    heights = [None if value is None else 100 - 100 * value / top for value in values]
    match layer.kind:
        case "bars":
            path = "".join(
                f"M{n * width:.1f} 100V{y:.1f}h{max(width, 1.5):.1f}V100Z"
                for n, y in enumerate(heights)
                if y is not None and y < 100
            )
        case "area":
            steps = "".join(
                f"V{100 if y is None else y:.1f}H{(n + 1) * width:.1f}" for n, y in enumerate(heights)
            )
            path = f"M0 100{steps}V100Z"
        case _:
            path = "".join(_pieces(heights, width))
    return Shape(style=f"{layer.kind} {layer.style}", path=path)


def _pieces(heights: Sequence[float | None], width: float) -> Iterable[str]:
    """A line in steps, begun anew after each gap."""
    drawing = False
    for n, y in enumerate(heights):
        if y is None:
            drawing = False
            continue
        yield f"{'V' if drawing else f'M{n * width:.1f} '}{y:.1f}H{(n + 1) * width:.1f}"
        drawing = True
