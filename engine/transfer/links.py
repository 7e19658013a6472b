"""Portfolios, after all the versions that they link to.

Which there are is told by their projects and by the versions, as those of registries are elsewhere. There are
few, and what is the same already is found out by looking, so they are compared each time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

import anyio

from engine.errors import EngineError
from engine.fanout import for_each
from engine.fingerprints import fingerprint
from engine.protocols import LinkDestination, LinkSource
from engine.records import Collection, Namespace, Project
from engine.transfer.failing import Failed
from engine.transfer.ledger.journal import Journal
from engine.transfer.ledger.leases import Claim

NOWHERE = Namespace("", "")
"""Where a portfolio goes is up to the destination."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """The portfolios of one transfer.

    Attributes:
        failed: records a failure.
        drain: when it is set, nothing further is begun.
        workers: portfolios that are moved at the same time.
    """

    source: LinkSource
    destination: LinkDestination
    journal: Journal
    failed: Failed
    drain: anyio.Event
    workers: int
    _seen: set[str] = field(default_factory=set)

    async def move(self, projects: Sequence[Project], others: Iterable[Collection], *, whole: bool) -> None:
        """Move all portfolios of these projects, and these other ones.

        Args:
            whole: whether all versions of these projects were brought.

        Raises:
            EngineError: nothing further can succeed.
        """
        elsewhere: list[Collection] = []

        async def one(portfolio: Collection) -> None:
            if await self._move(portfolio, whole=whole) is Claim.ELSEWHERE:
                elsewhere.append(portfolio)

        async with aclosing(self._listed(projects, others)) as portfolios:
            await for_each(portfolios, one, limit=self.workers)
        # What another engine does not live to make is taken over.
        while elsewhere and not self.drain.is_set():
            await self.journal.wait_for_others(f"{len(elsewhere)} portfolios")
            waiting = list(elsewhere)
            elsewhere.clear()
            await for_each(waiting, one, limit=self.workers)

    async def _listed(
        self, projects: Sequence[Project], others: Iterable[Collection]
    ) -> AsyncGenerator[Collection]:
        for project in projects:
            try:
                async with aclosing(self.source.portfolios(project)) as portfolios:
                    async for portfolio in portfolios:
                        if self._is_new(portfolio):
                            yield portfolio
            except EngineError as error:
                tell = partial(self.journal.project_listed, project)
                await self.failed("project", f"portfolios of {project.namespace}", error, tell)
        for portfolio in others:
            if self._is_new(portfolio):
                yield portfolio

    def _is_new(self, portfolio: Collection) -> bool:
        known = len(self._seen)
        self._seen.add(str(portfolio))
        return len(self._seen) > known

    async def _move(self, listed: Collection, *, whole: bool) -> Claim | None:
        """Move one portfolio, if it can be had; None if nothing is to be begun."""
        if self.drain.is_set():
            return None
        (claim,) = await self.journal.claim_collections([listed])
        if claim is Claim.MINE:
            await self._write(listed, whole=whole)
        return claim

    async def _write(self, listed: Collection, *, whole: bool) -> None:
        try:
            portfolio = await self.source.portfolio(listed)
            await self.destination.write_portfolio(portfolio, whole=whole)
        except Exception as error:  # noqa: BLE001 - becomes a failure record
            await self.failed("portfolio", f"portfolio {listed}", error, partial(self._tell, listed))
        else:
            proof = fingerprint(portfolio)
            await self.journal.collection_ended(listed, NOWHERE, fingerprint=proof)

    async def _tell(self, portfolio: Collection, error: EngineError) -> None:
        await self.journal.collection_ended(portfolio, NOWHERE, error=error)
