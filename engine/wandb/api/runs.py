"""Lists of runs that stream: a page at a time, nothing kept, nothing remembered from an earlier list."""

from __future__ import annotations

import asyncio
import warnings
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing

from engine.errors import NotFound
from engine.fanout import for_each
from engine.protocols import Unreadable
from engine.records import Json, Namespace
from engine.wandb.api import documents
from engine.wandb.api.asking import page_size
from engine.wandb.api.errors import raising_comm_errors, streaming_comm_errors
from engine.wandb.api.filters import filter_text, order_text
from engine.wandb.api.run import Run
from engine.wandb.api.sampling import Sample
from engine.wandb.api.session import Session
from engine.wandb.api.table import HistoryTable
from engine.wandb.reading.runs import Listing

PER_PAGE = 50
AT_ONCE = 16
"""Runs whose histories are read at the same time."""


class Runs:
    """The runs of a project that match a filter. Each ``async for`` asks the server anew.

    Attributes:
        given: runs that the last iteration has given so far; each once, however the pages moved meanwhile.
        unreadable: what that iteration had to pass over, and why: the server could not give it even alone.
    """

    def __init__(
        self,
        session: Session,
        namespace: Namespace,
        filters: Mapping[str, Json] | None,
        order: str,
        per_page: int,
    ) -> None:
        self._session = session
        self.namespace = namespace
        self._filters = filter_text(filters)
        self._order = order_text(order)
        self._per_page = page_size(per_page)
        self.given = 0
        self.unreadable: list[Unreadable] = []

    @raising_comm_errors
    async def total(self) -> int:
        """How many there are, as the server counts them now; ``given`` says how many an iteration gave."""
        namespace, subject = self.namespace, f"runs of {self.namespace}"
        variables = {"entity": namespace.entity, "project": namespace.project, "filters": self._filters}
        data = await self._session.client.graphql(documents.RUN_COUNT, variables, subject)
        if (project := data.get("project")) is None:
            raise NotFound(
                "the project is not there, or not open to you",
                side=self._session.client.side,
                subject=subject,
            )
        return int(project["runCount"])

    def __aiter__(self) -> AsyncIterator[Run]:
        return self._runs()

    @streaming_comm_errors
    async def _runs(self) -> AsyncGenerator[Run]:
        self.given = 0
        self.unreadable = []
        seen: set[str] = set()
        listing = Listing(
            self._session.client,
            self.namespace,
            documents.RUNS,
            filters=self._filters,
            order=self._order,
            per_page=self._per_page,
        )
        async with aclosing(listing.nodes()) as nodes:
            async for node in nodes:
                if isinstance(node, Unreadable):
                    self.unreadable.append(node)
                    warnings.warn(f"run {node.id} was passed over: {node.error}", stacklevel=2)
                elif node["name"] not in seen:
                    seen.add(node["name"])
                    self.given += 1
                    yield Run(self._session, node, self.namespace)

    async def first(self) -> Run | None:
        """The first one, None without any."""
        async with aclosing(self._runs()) as runs:
            async for run in runs:
                return run
        return None

    async def pages(self) -> AsyncGenerator[Sequence[Run]]:
        """The same runs, as many at a time as come in one page."""
        page: list[Run] = []
        async with aclosing(self._runs()) as runs:
            async for run in runs:
                page.append(run)
                if len(page) == self._per_page:
                    yield page
                    page = []
        if page:
            yield page

    async def samples(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        *,
        stream: str = "default",
    ) -> list[dict[str, Json]]:
        """Samples of all histories, several runs at a time, each row with its ``run_id``."""
        found: dict[str, Sample] = {}

        async def take(run: Run) -> None:
            found[run.id] = await run.sample(samples, keys, x_axis, stream=stream)

        async with aclosing(self._in_order(found)) as runs:
            await for_each(runs, take, limit=AT_ONCE)
        return [{**row, "run_id": run_id} for run_id, rows in found.items() for row in rows]

    async def _in_order(self, found: dict[str, Sample]) -> AsyncGenerator[Run]:
        async with aclosing(self._runs()) as runs:
            async for run in runs:
                found[run.id] = Sample((), requested=0, there=None)
                yield run

    async def histories(
        self, keys: Sequence[str] | None = None, *, require_all: bool = False, at_once: int = AT_ONCE
    ) -> AsyncGenerator[tuple[Run, HistoryTable]]:
        """The whole history of every run, in the order of the runs, several read at a time.

        Args:
            at_once: tables that are being read or wait to be taken.
        """
        ahead: deque[tuple[Run, asyncio.Task[HistoryTable]]] = deque()
        try:
            async with aclosing(self._runs()) as runs:
                async for run in runs:
                    read = run.history_table(keys, require_all=require_all)
                    ahead.append((run, asyncio.create_task(read)))
                    if len(ahead) == at_once:
                        yield ahead[0][0], await ahead[0][1]
                        ahead.popleft()
            while ahead:
                yield ahead[0][0], await ahead[0][1]
                ahead.popleft()
        finally:
            for _, task in ahead:
                task.cancel()
            await asyncio.gather(*(task for _, task in ahead), return_exceptions=True)

    def __repr__(self) -> str:
        return f"<Runs {self.namespace} {self._filters} {self._order}>"
