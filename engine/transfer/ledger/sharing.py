"""Divides the runs among engines that share a transfer.

Each of them lists all runs and takes those that nobody has. A run that another engine has in hand is put
aside and looked at again: then it has arrived, or was tried, or its engine is gone and it can be had.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from engine.records import Namespace, Run
from engine.transfer.ledger.journal import Journal
from engine.transfer.ledger.leases import Claim
from engine.transfer.options import Result
from engine.transfer.streams import waiting

BATCH = 8
"""Runs that are claimed together at most. What is claimed waits in no queue, so that nobody hoards."""

ASIDE = 256
"""Runs of others that are kept in mind; with more of them the listing waits."""


class Sharing:
    """The share of one engine."""

    def __init__(self, journal: Journal, result: Result) -> None:
        self._journal = journal
        self._result = result
        self._targets: Mapping[Namespace, Namespace] = {}
        self._aside: deque[Run] = deque()
        self._scope = anyio.CancelScope()

    def stop(self) -> None:
        """Take no more runs."""
        self._scope.cancel()

    async def divide(
        self,
        targets: Mapping[Namespace, Namespace],
        listed: MemoryObjectReceiveStream[Run],
        mine: MemoryObjectSendStream[Run],
    ) -> None:
        """Pass on the runs that are for this engine, until all runs are in somebody's hands and done.

        Args:
            targets: where each project goes.
        """
        self._targets = targets
        async with listed, mine:
            with self._scope:
                async for run in listed:
                    await self._offer([run, *waiting(listed, BATCH - 1)], mine)
                    while len(self._aside) >= ASIDE:
                        await self._look_again(mine)
                while self._aside:
                    await self._look_again(mine)

    async def _offer(self, runs: Sequence[Run], mine: MemoryObjectSendStream[Run]) -> None:
        wanted: list[Run] = []
        for run in runs:
            if await self._journal.is_proven(run, self._targets[run.namespace]):
                await mine.send(run)  # to be counted
            else:
                wanted.append(run)
        if not wanted:
            return
        for run, claim in zip(wanted, await self._journal.claim(wanted), strict=True):
            match claim:
                case Claim.MINE:
                    await mine.send(run)
                case Claim.ELSEWHERE:
                    self._aside.append(run)
                case Claim.TRIED:
                    self._result.runs_elsewhere += 1

    async def _look_again(self, mine: MemoryObjectSendStream[Run]) -> None:
        await self._journal.wait_for_others(f"{len(self._aside)} runs")
        aside = list(self._aside)
        self._aside.clear()
        for start in range(0, len(aside), BATCH):
            await self._offer(aside[start : start + BATCH], mine)
