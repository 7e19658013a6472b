"""A few runs for all: which ones are looked at, and what they say of the others."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Generic, TypeVar

from engine.transfer.planning.plan import Amount

T = TypeVar("T")

SEED = 20260101
"""Fixed, so that the same plan is made twice."""


class Reservoir(Generic[T]):
    """Keeps some of the items that pass by, each with the same chance, however many there are."""

    def __init__(self, size: int) -> None:
        self.kept: list[T] = []
        self.passed = 0
        self._size = size
        self._chance = random.Random(SEED)

    def add(self, item: T) -> None:
        self.passed += 1
        if len(self.kept) < self._size:
            self.kept.append(item)
        elif (place := self._chance.randrange(self.passed)) < self._size:
            self.kept[place] = item


class Tallies:
    """Sums what was counted of each run that was looked at."""

    def __init__(self) -> None:
        self.runs = 0
        self._sums: Counter[str] = Counter()
        self._squares: Counter[str] = Counter()

    def add(self, tally: Counter[str]) -> None:
        """What was counted of one run."""
        self.runs += 1
        self._sums.update(tally)
        self._squares.update({name: value * value for name, value in tally.items()})

    def names(self) -> Sequence[str]:
        return sorted(self._sums)

    def amount(self, name: str, of: int, *, exact: bool = True) -> Amount:
        """What there is in ``of`` runs.

        Args:
            exact: whether single runs were counted exactly.
        """
        total, looked_at = self._sums[name], self.runs
        if looked_at >= of or looked_at == 0:
            return Amount(round(total), exact)
        mean = total / looked_at
        variance = max(0.0, self._squares[name] / looked_at - mean * mean) * looked_at / max(1, looked_at - 1)
        error = of * math.sqrt(variance / looked_at * (1 - looked_at / of))
        return Amount(round(mean * of), exact=False, margin=math.ceil(2 * error))
