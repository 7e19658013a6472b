"""How long a transfer may take: a range, from measured constants and the round trips of this very moment.

The low end is what the narrowest of all resources needs alone, at its best; the high end is what all of them
need one after the other, at their worst. Constants are those of ``benchmarks/README.md``, on two cores that
were shared, and rounded away from each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from engine.transfer.options import Options
from engine.transfer.planning.plan import Duration
from engine.transfer.throttling.throttle import DEFAULT_CONCURRENCY


class Range(NamedTuple):
    """At best and at worst."""

    low: float
    high: float

    def __mul__(self, amount: object) -> Range:
        assert isinstance(amount, int | float)
        return Range(self.low * amount, self.high * amount)


START_S = Range(0.5, 3.0)
REQUEST_CPU_S = Range(0.0003, 0.0015)
POINT_CPU_S = Range(1.5e-6, 6e-6)
BYTE_CPU_S = Range(2.5e-9, 6e-9)
"""MD5, TLS and copying."""
SERVED_POINT_S = Range(10e-6, 60e-6)
"""Of a tracking server's own time; ``mlflow server`` takes 50 µs of one core."""
BYTES_PER_S = Range(10e6, 200e6)
"""Of a line that nobody measured."""
UNKNOWN_ROUND_TRIP_S = 0.1
WRITE = Range(1.0, 5.0)
"""How many times as long as a question an answer to a write may take, and ``WRITE_MORE_S`` at worst."""
WRITE_MORE_S = 0.02
OTHERWISE_AT_A_TIME = 16
_CONCURRENCY: Mapping[str, int] = {str(endpoint): most for endpoint, most in DEFAULT_CONCURRENCY.items()}


def estimate(
    *,
    points: int,
    served_points: int,
    size: int,
    requests: Mapping[str, int],
    round_trips: Mapping[str, float],
    options: Options,
) -> Duration:
    """How long it takes.

    Args:
        points: of histories.
        served_points: those of them that a tracking server hands out.
        size: bytes of files and artifacts.
        requests: by ``side endpoint``.
        round_trips: seconds by side, as far as they were measured.
    """
    cpu = [
        REQUEST_CPU_S * sum(requests.values()),
        POINT_CPU_S * points,
        BYTE_CPU_S * size,
    ]
    lanes = [_lane(name, count, round_trips, options) for name, count in requests.items()]
    lanes.append(SERVED_POINT_S * served_points)
    if options.bandwidth:
        lanes.append(Range(size / options.bandwidth, size / options.bandwidth))
    else:
        lanes.append(Range(size / BYTES_PER_S.high, size / BYTES_PER_S.low))
    low = START_S.low + max(sum(part.low for part in cpu), *(lane.low for lane in lanes))
    high = START_S.high + sum(part.high for part in (*cpu, *lanes))
    return Duration(low_s=low, high_s=high, assumptions=_assumptions(size, round_trips, options))


def _lane(name: str, count: int, round_trips: Mapping[str, float], options: Options) -> Range:
    """One class of endpoints, which answers several requests at a time."""
    side, _, endpoint = name.partition(" ")
    round_trip = round_trips.get(side, UNKNOWN_ROUND_TRIP_S)
    at_a_time = options.concurrency or _CONCURRENCY.get(endpoint, OTHERWISE_AT_A_TIME)
    low = count * round_trip * WRITE.low / at_a_time
    high = count * (round_trip * WRITE.high + WRITE_MORE_S) / max(1, at_a_time / 2)
    paced = count / options.max_rps if options.max_rps else 0.0
    return Range(max(low, paced), max(high, paced))


def _assumptions(size: int, round_trips: Mapping[str, float], options: Options) -> tuple[str, ...]:
    found = [
        f"a {side} that answers in {seconds * 1000:.0f} ms, as it just did"
        for side, seconds in sorted(round_trips.items())
    ]
    if size and not options.bandwidth:
        found.append(f"a line of {BYTES_PER_S.low / 1e6:.0f} to {BYTES_PER_S.high / 1e6:.0f} MB/s")
    found.append("client costs measured on two shared cores")
    found.append("no rate limits and no outages, which only the transfer itself finds out")
    return tuple(found)
