"""Lists of runs that stream: a page at a time, nothing kept, nothing remembered from an earlier list."""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing

from engine.errors import ConfigError, NotFound
from engine.protocols import Unreadable
from engine.records import Json, Namespace
from engine.wandb.api import documents
from engine.wandb.api.errors import raising_comm_errors, streaming_comm_errors
from engine.wandb.api.filters import filter_text, order_text
from engine.wandb.api.run import Run
from engine.wandb.api.session import Session
from engine.wandb.reading.runs import Listing

PER_PAGE = 50


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
        if per_page < 1:
            raise ConfigError(f"a page of {per_page} runs cannot be had", remedy="ask for at least one")
        self._session = session
        self.namespace = namespace
        self._filters = filter_text(filters)
        self._order = order_text(order)
        self._per_page = per_page
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

    def __repr__(self) -> str:
        return f"<Runs {self.namespace} {self._filters} {self._order}>"
