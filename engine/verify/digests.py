"""Order-independent digests of metric points: what a history holds, whatever the order it is read in.

Each point (step, value) is hashed to 128 bits, and a key has the sum of the hashes of its points. A sum is
the same in any order, and unlike XOR it sees a point that comes twice. It finds errors, not forgers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.records import Json
from engine.verify.values import canonical, metric

Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_MASK: Final = 2**64 - 1
_SEEDS: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))
_NAN: Final = np.uint64(0x7FF8000000000000)


@dataclass(frozen=True, slots=True)
class KeyDigest:
    """Of all points of one key.

    Attributes:
        points: how many there are.
        content: 128 bits in hex that depend on the points and not on their order.
    """

    points: int
    content: str


def _mixed(words: Words) -> Words:
    """Every bit of the input changes half of the output: the finaliser of SplitMix64 (Steele, 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def bits_of(values: Floats) -> Words:
    """The bits of floats of which equal ones are equal: one NaN, and no negative zero."""
    bits = (values + 0.0).view(np.uint64)
    return np.where(np.isnan(values), _NAN, bits)


class PointDigests:
    """Digests of the keys of one history, while its points come in.

    Keys are numbered as they appear; ``code`` numbers them.
    """

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._counts: Ints = np.zeros(16, np.int64)
        self._lanes: tuple[Words, Words] = (np.zeros(16, np.uint64), np.zeros(16, np.uint64))

    def code(self, key: str) -> int:
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = len(self._codes)
            if code == len(self._counts):
                self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
                first, second = (np.concatenate([lane, np.zeros_like(lane)]) for lane in self._lanes)
                self._lanes = first, second
        return code

    def add(self, codes: npt.NDArray[Any], steps: Ints, values: Floats) -> None:
        """Take points whose values are numbers."""
        where, bits = steps.view(np.uint64), bits_of(values)
        self._counts += np.bincount(codes, minlength=len(self._counts))
        for lane, seed in zip(self._lanes, _SEEDS, strict=True):
            np.add.at(lane, codes, _mixed(_mixed(where + seed) ^ (bits + seed)))

    def add_key(self, key: str, steps: Ints, values: Floats) -> None:
        """As ``add``, of points of one key."""
        code = self.code(key)
        where, bits = steps.view(np.uint64), bits_of(values)
        self._counts[code] += len(steps)
        for lane, seed in zip(self._lanes, _SEEDS, strict=True):
            # A slice, because NumPy warns of scalars that wrap.
            lane[code : code + 1] += _mixed(_mixed(where + seed) ^ (bits + seed)).sum(dtype=np.uint64)

    def add_other(self, code: int, step: Json, value: Json) -> None:
        """Take a point whose value is anything else, or whose step is no integer of 64 bits."""
        text = canonical([step, metric(value)])
        hashed = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self._counts[code] += 1
        for lane, word in zip(self._lanes, np.frombuffer(hashed, "<u8"), strict=True):
            # As Python integers, because NumPy warns of scalars that wrap.
            lane[code] = np.uint64((int(lane[code]) + int(word)) & _MASK)

    @property
    def points(self) -> int:
        return int(self._counts.sum())

    def by_key(self) -> dict[str, KeyDigest]:
        first, second = self._lanes
        return {
            key: KeyDigest(int(self._counts[code]), f"{int(first[code]):016x}{int(second[code]):016x}")
            for key, code in self._codes.items()
        }


class StepTimes:
    """The latest time of every step, which is what a row keeps of the times of its points.

    Up to ``EXACT`` steps each is known; beyond, steps that are equal modulo ``EXACT`` share a place, so that
    memory is bounded: then an error of a time may go unseen, but nothing is seen that is not there.
    """

    EXACT = 2**20
    PENDING = 2**16

    def __init__(self) -> None:
        self._steps: Ints = np.empty(0, np.int64)
        self._times: Ints = np.empty(0, np.int64)
        self._pending: list[tuple[Ints, Ints]] = []
        self._waiting = 0
        self.is_exact = True

    def add(self, steps: Ints, times: Ints) -> None:
        if not len(steps):
            return
        self._pending.append((steps, times))
        self._waiting += len(steps)
        if self._waiting >= max(self.PENDING, len(self._steps)):
            self._settle()

    def _settle(self) -> None:
        if not self._pending:
            return
        steps = np.concatenate([self._steps, *(steps for steps, _ in self._pending)])
        times = np.concatenate([self._times, *(times for _, times in self._pending)])
        self._pending, self._waiting = [], 0
        self._reduce(steps, times)
        if len(self._steps) > self.EXACT:
            self.is_exact = False
            self._reduce(self._steps, self._times)

    def _reduce(self, steps: Ints, times: Ints) -> None:
        if not self.is_exact:
            steps = steps % self.EXACT
        order = np.argsort(steps, kind="stable")
        steps, times = steps[order], times[order]
        starts = np.flatnonzero(np.concatenate([[True], steps[1:] != steps[:-1]]))
        self._steps, self._times = steps[starts], np.maximum.reduceat(times, starts)

    @property
    def count(self) -> int:
        """How many steps there are; of a history that is not exact, at least so many."""
        self._settle()
        return len(self._steps)

    def digest(self) -> str:
        self._settle()
        whole = hashlib.blake2b(digest_size=16)
        whole.update(np.ascontiguousarray(self._steps, "<i8").tobytes())
        whole.update(np.ascontiguousarray(self._times, "<i8").tobytes())
        return whole.hexdigest()

    def differing(self, other: StepTimes, most: int) -> list[tuple[int, int | None, int | None]]:
        """The first steps whose times are not the same: (step, time here, time there)."""
        mine = dict(zip(self._steps.tolist(), self._times.tolist(), strict=True))
        theirs = dict(zip(other._steps.tolist(), other._times.tolist(), strict=True))
        steps = sorted(step for step in mine.keys() | theirs.keys() if mine.get(step) != theirs.get(step))
        return [(step, mine.get(step), theirs.get(step)) for step in steps[:most]]


def combined(digests: Mapping[str, KeyDigest]) -> Iterable[str]:
    """One line a key, by which a history goes into a Merkle tree."""
    for key in sorted(digests):
        yield canonical([key, digests[key].points, digests[key].content])
