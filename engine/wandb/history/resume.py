"""How much of a history the server holds already, so that only the rest of it is sent.

A history is always encoded from its first row on, and equal points make equal lines. Of the lines that the
server acknowledged, digests of ever longer beginnings are remembered. The next time, each beginning that
still has its digest, and that the server counts among its lines, need not be sent; the first that has
another one tells where something changed: a point that came late for an older step, or a step that
was not complete when it was looked at.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Sequence
from typing import Self

from engine.records import Json
from engine.transfer.ledger.memos import RunMemos
from engine.transfer.ledger.schema import Kind

LEAST_DIGESTS, MOST_DIGESTS = 64, 4_096
"""Beginnings that are remembered of a longer history: up to twice the least, and more of a very long one."""

FAR = 4 * 1024 * 1024
"""Bytes of lines between two of them at most, which a reader has to hold until it knows more."""

logger = logging.getLogger(__name__)


class Beginnings:
    """Digests of the first lines of a history, taken while they pass.

    At first of every line; the distance doubles whenever there are many, so that a memo stays small and a
    change costs at most a few percent more lines than have to be sent.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._every = 1
        self._digests: list[str] = []
        self._hash = hashlib.blake2b(digest_size=16)
        self._since = 0
        self._farthest = 0

    def add(self, lines: Sequence[str]) -> None:
        """These lines come next."""
        start = 0
        while start < len(lines):
            taken = lines[start : start + self._every - self.rows % self._every]
            text = _bytes(taken)
            self._hash.update(text)
            self._since += len(text)
            self.rows += len(taken)
            start += len(taken)
            if self.rows % self._every == 0:
                self._digests.append(self._hash.hexdigest())
                self._farthest, self._since = max(self._farthest, self._since), 0
                self._thin()

    def _thin(self) -> None:
        """Keep every other digest if there are many, and they would not lie too far from each other."""
        count = len(self._digests)
        if count < 2 * LEAST_DIGESTS or count % 2:
            return
        if 2 * self._farthest <= FAR or count >= MOST_DIGESTS:
            self._digests, self._every = self._digests[1::2], 2 * self._every
            self._farthest *= 2

    def digest_with(self, lines: Sequence[str]) -> str:
        """What the digest would be if these lines came next."""
        longer = self._hash.copy()
        longer.update(_bytes(lines))
        return longer.hexdigest()

    def memo(self) -> Json:
        """All of it as JSON; see ``beginnings_of``."""
        return {
            "rows": self.rows,
            "digest": self._hash.hexdigest(),
            "every": self._every,
            "digests": self._digests,
        }


def beginnings_of(memo: Json) -> dict[int, str]:
    """Digests by number of rows, in ascending order."""
    steady = {number * memo["every"]: digest for number, digest in enumerate(memo["digests"], 1)}
    return steady | {memo["rows"]: memo["digest"]}


def _bytes(lines: Sequence[str]) -> bytes:
    # JSON text holds no line breaks, so that no two histories look the same.
    return "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")


class SentRows:
    """The lines of one history that the server has. Made by ``recall``.

    Attributes:
        held: lines that the server says it had when the run was opened.
        next_check: the number of lines at which ``has`` is to be asked, 0 if there is nothing to ask.
    """

    def __init__(self, memos: RunMemos, name: str, held: int) -> None:
        self.held = held
        self.next_check = 0
        self._memos = memos
        self._name = name
        self._begun = Beginnings()
        self._remembered: deque[tuple[int, str]] = deque()
        self._may_be_wrong = held > 0

    @classmethod
    async def recall(cls, memos: RunMemos, name: str, held: int) -> Self:
        """What is known of a history.

        Args:
            name: tells the run at the server from all others.
        """
        sent = cls(memos, name, held)
        if held and (memo := await memos.get(Kind.HISTORY_RANGE, name)) is not None:
            sent._remembered.extend(pair for pair in beginnings_of(memo).items() if 0 < pair[0] <= held)
            sent._look_ahead()
        return sent

    @property
    def rows(self) -> int:
        """Lines, from the first one on, that the server has as they are now."""
        return self._begun.rows

    def _look_ahead(self) -> None:
        self.next_check = self._remembered[0][0] if self._remembered else 0

    def has(self, lines: Sequence[str]) -> bool:
        """Whether the server has the lines up to ``next_check``, of which these come after ``rows``."""
        _, digest = self._remembered.popleft()
        if digest != self._begun.digest_with(lines):
            self._remembered.clear()
            self.next_check = 0
            return False
        self._begun.add(lines)
        self._look_ahead()
        return True

    async def sending(self, subject: str) -> None:
        """From ``rows`` on, lines are about to be written; what is remembered beyond is not true any more."""
        self._remembered.clear()
        self.next_check = 0
        if self._may_be_wrong:
            self._may_be_wrong = False
            if self.rows < self.held:
                logger.info(
                    "%s: of %d history rows at the destination, %d are known to be the same; the others "
                    "are sent again",
                    subject,
                    self.held,
                    self.rows,
                )
            await self._memos.put(Kind.HISTORY_RANGE, self._name, self._begun.memo(), settled=True)

    def acknowledged(self, lines: Sequence[str]) -> None:
        """The server has these lines, too."""
        self._begun.add(lines)

    async def remember(self) -> None:
        """Keep in mind what was acknowledged, for a transfer that goes on here."""
        await self._memos.put(Kind.HISTORY_RANGE, self._name, self._begun.memo())
