"""A session in even steps of time, for charts, whatever the distance of its samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.dashboard.sessions import Sample, Session, ThrottleSample

STEPS = 240
"""More than that is not seen on a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A time in which something was waited for; seconds from the beginning."""

    begin_s: float
    end_s: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A throttle over time: each list has a value for each step.

    Attributes:
        accepted: requests per second that the server took, or is still at.
        rejected: requests per second that the server refused for being too many.
        allowed: requests per second that the throttle lets through; None while it knows no limit.
        in_flight: requests under way.
        slots: requests under way at most.
    """

    host: str
    endpoint: str
    sent: int
    refused: int
    round_trip_s: float | None
    accepted: tuple[float, ...]
    rejected: tuple[float, ...]
    allowed: tuple[float | None, ...]
    in_flight: tuple[float | None, ...]
    slots: tuple[float | None, ...]

    @property
    def limit(self) -> float | None:
        """The last known."""
        return self.allowed[-1] if self.allowed else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What a session moved per second, in ``steps`` of equal length.

    Attributes:
        listed_s: when all runs were known, None if they never were.
        windows: of each throttle, those that were refused the most first.
    """

    duration_s: float
    steps: int
    runs: tuple[float, ...]
    points: tuple[float, ...]
    bytes: tuple[float, ...]
    requests: tuple[float, ...]
    listed_s: float | None
    pauses: tuple[Pause, ...]
    windows: tuple[Window, ...]

    @property
    def step_s(self) -> float:
        return self.duration_s / self.steps


def timeline_of(session: Session) -> Timeline | None:
    """None if too little is known of the session."""
    samples = session.samples
    if not samples or samples[-1].elapsed_s <= 0:
        return None
    duration = samples[-1].elapsed_s
    steps = max(1, min(STEPS, math.floor(duration)))
    edges = np.linspace(0.0, duration, steps + 1)

    def rates(of: Callable[[Sample], float]) -> tuple[float, ...]:
        return _rates(edges, [s.elapsed_s for s in samples], [of(s) for s in samples])

    return Timeline(
        duration_s=duration,
        steps=steps,
        runs=rates(lambda s: s.runs_done),
        points=rates(lambda s: s.points),
        bytes=rates(lambda s: s.bytes),
        requests=rates(lambda s: s.requests),
        listed_s=next((s.elapsed_s for s in samples if not s.enumerating), None),
        pauses=_pauses(samples),
        windows=_windows(edges, samples),
    )


def _rates(edges: np.ndarray, times: Sequence[float], counts: Sequence[float]) -> tuple[float, ...]:
    """A counter's growth per second between edges. It was 0 at the beginning."""
    at_edges = np.interp(edges, [0.0, *times], [0.0, *counts])
    return tuple(np.maximum(np.diff(at_edges) / np.diff(edges), 0.0).tolist())


def _windows(edges: np.ndarray, samples: Sequence[Sample]) -> tuple[Window, ...]:
    found: dict[tuple[str, str], tuple[list[float], list[ThrottleSample]]] = {}
    for sample in samples:
        for state in sample.throttles:
            times, states = found.setdefault((state.host, state.endpoint), ([], []))
            times.append(sample.elapsed_s)
            states.append(state)
    windows = [
        _window(edges, times, states, samples[0].elapsed_s)
        for times, states in found.values()
        if states[-1].sent
    ]
    return tuple(sorted(windows, key=lambda window: (-window.refused, -window.sent)))


def _window(edges: np.ndarray, times: list[float], states: list[ThrottleSample], first_s: float) -> Window:
    # A throttle that is first seen later than anything else had sent nothing a sample earlier.
    since = [max(0.0, times[0] - 1.0)] if times[0] > first_s else []
    sent = _rates(edges, since + times, [0.0] * len(since) + [s.sent for s in states])
    rejected = _rates(edges, since + times, [0.0] * len(since) + [s.rejected for s in states])
    # In the middle of each step, the state that was told last.
    latest = np.searchsorted(np.asarray(times), (edges[:-1] + edges[1:]) / 2, side="right") - 1
    during = [states[n] if n >= 0 else None for n in latest.tolist()]
    last = states[-1]
    return Window(
        host=last.host,
        endpoint=last.endpoint,
        sent=last.sent,
        refused=last.rejected,
        round_trip_s=last.round_trip_s,
        accepted=tuple(max(0.0, all_ - no) for all_, no in zip(sent, rejected, strict=True)),
        rejected=rejected,
        allowed=tuple(state.rate if state else None for state in during),
        in_flight=tuple(float(state.in_flight) if state else None for state in during),
        slots=tuple(float(state.slots) if state else None for state in during),
    )


def _pauses(samples: Sequence[Sample]) -> tuple[Pause, ...]:
    found: list[Pause] = []
    begin: float | None = None
    reason = ""
    for before, sample in zip([None, *samples], samples, strict=False):
        if sample.waiting and begin is None:
            begin, reason = (before.elapsed_s if before else 0.0), sample.waiting[0]
        elif not sample.waiting and begin is not None:
            found.append(Pause(begin_s=begin, end_s=sample.elapsed_s, reason=reason))
            begin = None
    if begin is not None:
        found.append(Pause(begin_s=begin, end_s=samples[-1].elapsed_s, reason=reason))
    return tuple(found)
