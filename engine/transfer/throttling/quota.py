"""A quota that a server tells with its answers, and what of it is ours."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

LOWEST = 0.1
"""Requests per second; nobody is ever told to stop altogether."""

RESET_MIN_S = 1.0
"""Windows about to end say nothing about the next."""

_HEADERS = (
    ("RateLimit-Remaining", "RateLimit-Reset"),
    ("X-RateLimit-Remaining", "X-RateLimit-Reset"),
)


@dataclass(slots=True)
class Quota:
    """Spreads what is left of a window over the rest of it.

    Others may use the same quota: it shrinks by more than what we sent, and the ratio of the two is our
    share, which needs no talking between processes.

    Attributes:
        rate: requests per second.
        own: requests that we sent since the server last told.
    """

    rate: float = math.inf
    own: int = 0
    _until: float = 0.0
    _remaining: float | None = None
    _share: float = 1.0

    def holds(self, now: float) -> bool:
        return now < self._until

    def told(self, now: float, remaining: float, reset_s: float) -> None:
        if self._remaining is None or not self.holds(now):
            self.own, self._remaining = 0, remaining
        elif self.own >= 5 and self._remaining - remaining >= 1:
            used = self._remaining - remaining
            self._share = 0.2 * self._share + 0.8 * min(1.0, self.own / used)
            self.own, self._remaining = 0, remaining
        self._until = now + reset_s
        self.rate = max(LOWEST, self._share * remaining / reset_s)


def quota_of(headers: Mapping[str, str]) -> tuple[float, float] | None:
    """What is left of a quota, and the seconds until it is filled again.

    Reads ``RateLimit-Remaining``/``-Reset`` (W&B), the same with ``X-``, and the one header of the IETF's
    drafts, in its newer form ``RateLimit: "api";r=12;t=30`` and its older ``limit=9, remaining=1, reset=30``.
    """
    for remaining_in, reset_in in _HEADERS:
        remaining, reset = headers.get(remaining_in), headers.get(reset_in)
        if remaining is not None and reset is not None:
            try:
                seconds = float(reset)
                # Some services give the moment of the reset instead of the time until then.
                return float(remaining), seconds - time.time() if seconds > 10**9 else seconds
            except ValueError:
                return None
    if (listed := headers.get("RateLimit")) is None:
        return None
    fields = dict(part.strip().split("=", 1) for part in re.split("[;,]", listed) if "=" in part)
    remaining, reset = fields.get("r", fields.get("remaining")), fields.get("t", fields.get("reset"))
    if remaining is None or reset is None:
        return None
    try:
        return float(remaining), float(reset)
    except ValueError:
        return None
