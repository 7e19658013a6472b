"""The rules that are in force, and the place in front of every route where they act."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from aiohttp import web

from engine.sandbox.faults import language
from engine.sandbox.faults.acts import QUOTA, Expire
from engine.sandbox.faults.requests import OBJECTS, Handler
from engine.sandbox.faults.rules import Rule

EXEMPT = "/admin/"
"""What lies here always works, so that no rule can lock out who set it."""


class Faults:
    """What goes wrong with requests, by rules that may change at any time.

    A request comes by the rules from the first to the last: one may delay what the next refuses, and what
    was refused does not come to the next. The same seed lets each rule hit the same ones of its requests,
    counted in order of arrival.

    Args:
        rules: in the language of ``engine.sandbox.faults.language``.
        seed: of what is left to chance.

    Raises:
        BadRule: a rule cannot be read.
    """

    def __init__(
        self, rules: Iterable[str] = (), *, seed: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._rules: list[Rule] = []
        self._numbers = 0
        self._seed = seed
        self.replace(rules, seed=seed)

    def replace(self, rules: Iterable[str], *, seed: int | None = None) -> None:
        """Set these rules in place of all others; counters begin anew."""
        parsed = [language.parse(text) for text in rules]
        self._seed = self._seed if seed is None else seed
        self._numbers = 0
        self._rules = []
        self._set(parsed)

    def add(self, rules: Iterable[str]) -> None:
        """Set these rules after the others."""
        self._set([language.parse(text) for text in rules])

    def restart(self) -> None:
        """Let the times of all rules count from now."""
        for rule in self._rules:
            rule.began = self._clock()

    def remove(self, number: int) -> bool:
        """Drop one rule; False if there is none of that number."""
        kept = [rule for rule in self._rules if rule.number != number]
        gone = len(kept) < len(self._rules)
        self._rules = kept
        return gone

    def clear(self) -> None:
        self._rules = []

    def describe(self) -> dict[str, Any]:
        """Seed and rules, with how many requests each was about and how often it acted."""
        return {"seed": self._seed, "rules": [rule.describe() for rule in self._rules]}

    def _set(self, rules: Iterable[Rule]) -> None:
        for rule in rules:
            self._numbers += 1
            rule.number, rule.began = self._numbers, self._clock()
            rule.draw = random.Random(f"{self._seed} {self._numbers} {rule.text}")
            self._rules.append(rule)

    # -- where requests come by

    async def intercept(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let the rules act on a request that is meant for ``handler``."""
        if not self._rules or request.path.startswith(EXEMPT):
            return await handler(request)
        for rule in reversed(self._rules):
            handler = partial(self._at, rule, handler)
        return await handler(request)

    async def _at(self, rule: Rule, handler: Handler, request: web.Request) -> web.StreamResponse:
        """A request comes by a rule; ``handler`` is all that lies behind."""
        if await rule.where.fits(request) and rule.decide(request, self._clock()):
            return await rule.act.answer(request, handler, rule.draw)
        return await handler(request)

    async def annotate(self, request: web.Request, response: web.StreamResponse) -> None:
        """Tell of quotas; a signal of aiohttp's, called before an answer's headers go out."""
        response.headers.update(request.get(QUOTA, {}))

    def lifetime_s(self, method: str, key: str, expires_s: float) -> float:
        """How long a presigned URL lives that would live for ``expires_s``."""
        for rule in self._rules:
            after_s = rule.act.after_s if isinstance(rule.act, Expire) else None
            fits = after_s is not None and rule.where.is_at(method, OBJECTS + key)
            if after_s is not None and fits and rule.is_due(self._clock()):
                rule.acted += 1
                expires_s = min(expires_s, after_s)
        return expires_s
