"""Merkle trees: one hash over many, in which each of them can be proven on its own.

Leaves and inner nodes are hashed differently, as RFC 6962 has it, so that one can't stand for the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from engine.verify.values import Facts, canonical

EMPTY = hashlib.sha256(b"").hexdigest()


def leaf(text: str) -> bytes:
    return hashlib.sha256(b"\0" + text.encode("utf-8", "surrogatepass")).digest()


class Tree:
    """The root over leaves in the order in which they come, with memory for one hash a level."""

    def __init__(self) -> None:
        self._peaks: list[tuple[int, bytes]] = []

    def add(self, hashed: bytes) -> None:
        size = 1
        while self._peaks and self._peaks[-1][0] == size:
            hashed = _node(self._peaks.pop()[1], hashed)
            size *= 2
        self._peaks.append((size, hashed))

    def root(self) -> str:
        """In hex; ``EMPTY`` for a tree without leaves."""
        if not self._peaks:
            return EMPTY
        *others, (_, right) = self._peaks
        for _, left in reversed(others):
            right = _node(left, right)
        return right.hex()


def root_of(texts: Iterable[str]) -> str:
    """The root over some leaves, whatever order they come in."""
    tree = Tree()
    for hashed in sorted(map(leaf, texts)):
        tree.add(hashed)
    return tree.root()


def facts_root(facts: Facts) -> str:
    """The root over what is said of something."""
    return root_of(canonical([*fact, value]) for fact, value in facts.items())


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()
