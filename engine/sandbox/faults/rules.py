"""A rule: which requests, what happens to them, how often and when."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from engine.sandbox.faults.requests import Handler, Where


class Act(Protocol):
    """What happens to a request that a rule chose."""

    def applies(self, request: web.Request, now: float) -> bool:
        """Whether anything happens this time; asked once for each request, at its moment."""
        ...

    async def answer(self, request: web.Request, handler: Handler, draw: random.Random) -> web.StreamResponse:
        """Stand in front of ``handler``, like a middleware."""
        ...


@dataclass(frozen=True, slots=True)
class When:
    """How often and when; the seconds count from the moment the rule was set.

    Attributes:
        share: of the matching requests, drawn one by one.
        skip: so many matching requests are let through first, and the window counts from the last of them.
        most: times at most.
        begin_s: not before.
        length_s: and for so long,
        period_s: again and again at this distance.
    """

    share: float = 1.0
    skip: int = 0
    most: float = math.inf
    begin_s: float = 0.0
    length_s: float = math.inf
    period_s: float = math.inf

    def includes(self, age_s: float) -> bool:
        """Whether a moment lies in the window."""
        since = age_s - self.begin_s
        if since < 0:
            return False
        return (since if math.isinf(self.period_s) else since % self.period_s) < self.length_s


@dataclass(slots=True)
class Rule:
    """One line of the language, and what came of it.

    Attributes:
        text: the line itself.
        number: names the rule while it is set.
        draw: its own random numbers, so that it hits the same of its requests whatever other rules there are.
        matched: requests that it was about.
        acted: those that it did something to.
    """

    text: str
    where: Where
    when: When
    act: Act
    number: int = 0
    began: float = 0.0
    draw: random.Random = field(default_factory=random.Random)
    matched: int = 0
    acted: int = 0

    def decide(self, request: web.Request, now: float) -> bool:
        """Whether to act on a request that fits; counts it."""
        if not self.is_due(now) or not self.act.applies(request, now):
            return False
        self.acted += 1
        return True

    def is_due(self, now: float) -> bool:
        """Whether it is the turn of the next request that fits; counts the request."""
        let_through = self.matched < self.when.skip
        if let_through:
            self.began = now
        elif not self.when.includes(now - self.began):
            return False
        self.matched += 1
        # Drawn always, so that the n-th request has the n-th number.
        hit = self.draw.random() < self.when.share
        return hit and not let_through and self.acted < self.when.most

    def describe(self) -> dict[str, Any]:
        return {"id": self.number, "rule": self.text, "matched": self.matched, "acted": self.acted}
