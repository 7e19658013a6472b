"""Histories: every row that a run logged, at full resolution.

A small history is one request. Of a larger one, what the server has exported to Parquet is read from there
and only the rest is asked for in pages. Pages go by the rows that exist: a window of steps is as wide as the
rows in it are sparse, so that a run whose steps are seconds since 1970 costs no more than any other.

A page is complete if it has fewer rows than were asked for, or its window no more steps than that: then
there was nothing to thin (``core/internal/runhistoryreader`` of the SDK relies on the latter).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, TypeVar

from engine.errors import IntegrityError, Unsupported
from engine.records import HistoryRows, Run
from engine.transfer.context import Context
from engine.wandb.client import WandbClient
from engine.wandb.reading import documents
from engine.wandb.reading.exports import Exports
from engine.wandb.reading.lines import part_of, rows_of
from engine.wandb.reading.live_tail import after, interleaved, split
from engine.wandb.reading.pages import address, of_run
from engine.wandb.reading.rows import Part, Row, step_of
from engine.wandb.reading.runs import counts_of

SMALL = 2_000
"""Rows that are asked for at once, if they are not long."""

PAGE_BYTES = 8 * 1024 * 1024
"""Bytes of rows in an answer, about."""

FIRST_BYTES = PAGE_BYTES // 2
"""Bytes of rows in the first page of a large history, until it is known how long they are."""

MOST_SAMPLES = 10_000
MOST_ROWS = MOST_SAMPLES // 2
"""Rows that a page is made for; as many again may come if they lie closer than was thought."""

_MISSING: Final = "history_rows_missing"
"""That fewer rows came than were counted. Of lines that became one row nobody says how W&B counts them."""

P = TypeVar("P", bound=Part)


@dataclass(frozen=True, slots=True)
class _Form(Generic[P]):
    """In which form rows are wanted.

    Attributes:
        of_exports: reads what is at these URLs.
        of_lines: reads the lines of a page.
    """

    of_exports: Callable[[Exports, Sequence[str]], AsyncGenerator[P]]
    of_lines: Callable[[Sequence[str]], P]


async def read_history(client: WandbClient, context: Context, run: Run) -> AsyncGenerator[HistoryRows]:
    """All rows in the order of their steps, in chunks.

    Raises:
        IntegrityError: the server gives fewer rows than it counts, or an export cannot be read.
    """
    first = 0
    form = _Form(Exports.rows, rows_of)
    async with aclosing(_read(client, context, run, form)) as lists:
        async for rows in lists:
            for start in range(0, len(rows), HistoryRows.CHUNK_ROWS):
                chunk = rows[start : start + HistoryRows.CHUNK_ROWS]
                yield HistoryRows(first=first, rows=chunk)
                first += len(chunk)


def read_parts(
    client: WandbClient, context: Context, run: Run, keys: Sequence[str] = ()
) -> AsyncGenerator[Part]:
    """The same rows for those who make tables of them: as Arrow where they can be.

    Args:
        keys: what is wanted, see ``parquet.united`` and ``lines.part_of``; rows may have more.

    Raises:
        IntegrityError: as with ``read_history``.
    """
    form: _Form[Part] = _Form(partial(Exports.parts, keys=keys), partial(part_of, keys=keys))
    return _read(client, context, run, form)


async def _read(
    client: WandbClient, context: Context, run: Run, form: _Form[P]
) -> AsyncGenerator[P | list[Row]]:
    counts = counts_of(run)
    if counts.rows == 0:
        return
    if counts.rows is not None and counts.rows <= SMALL and counts.rows * counts.row_bytes <= PAGE_BYTES:
        lines, there = await _all_at_once(client, run)
        # It may have grown since it was listed; what came is thinned then.
        if len(lines) >= max(counts.rows, there):
            yield form.of_lines(lines)
            return
    history = _LargeHistory(client, context, run)
    given = 0
    parts = history.parts(form)
    async with aclosing(parts):
        async for part in parts:
            given += len(part)
            yield part
    history.check(given)


async def _all_at_once(client: WandbClient, run: Run) -> tuple[Sequence[str], int]:
    """The lines of rows, and how many there are."""
    variables = {**address(run), "samples": SMALL}
    data = await client.graphql(documents.HISTORY_ROWS, variables, f"history of run {run.id}")
    answer = of_run(data, f"run {run.id}", client)
    return answer["history"], answer.get("historyLineCount") or 0


@dataclass(slots=True)
class _Extent:
    """What a server says of a history before its rows."""

    count: int | None
    last_step: int
    parquet_urls: tuple[str, ...]
    first_live: int | None
    """None if nothing but the export is there, 0 if there is no export."""


class _LargeHistory:
    """A history that is read in parts."""

    def __init__(self, client: WandbClient, context: Context, run: Run) -> None:
        self._client = client
        self._context = context
        self._run = run
        self._subject = f"history of run {run.id}"
        self._count: int | None = None
        self._united = 0
        """Rows that became parts of others."""

    async def parts(self, form: _Form[P]) -> AsyncGenerator[P | list[Row]]:
        extent = await self._extent()
        self._count = extent.count
        exports = Exports(self._client, self._context, self._subject, self._export_urls)
        given, overlapping = 0, list[Row]()
        async with aclosing(form.of_exports(exports, extent.parquet_urls)) as exported:
            if extent.parquet_urls:
                async for part in exported:
                    before, overlapping = split(part, extent.first_live)
                    given += len(before)
                    if len(before):
                        yield before
                    if overlapping:
                        break
            if overlapping:
                async with aclosing(self._live(extent, given, rows_of)) as live:
                    both = interleaved(after(overlapping, exported), live, exports.overlap)
                    async for rows in both:
                        yield rows
            else:
                async with aclosing(self._live(extent, given, form.of_lines)) as live_parts:
                    async for live_part in live_parts:
                        yield live_part
        self._united = exports.overlap.rows

    async def _live(
        self, extent: _Extent, given: int, of_lines: Callable[[Sequence[str]], P]
    ) -> AsyncGenerator[P]:
        """What is not exported; ``given`` rows were."""
        if extent.first_live is None:
            return
        window = _Windows(
            start=extent.first_live,
            stop=extent.last_step + 1,
            left=max(1, (extent.count or 0) - given),
            row_bytes=counts_of(self._run).row_bytes,
        )
        while (wanted := window.next()) is not None:
            variables = {
                **address(self._run),
                "minStep": wanted.start,
                "maxStep": wanted.stop,
                "samples": wanted.samples,
            }
            data = await self._client.graphql(documents.HISTORY_ROWS, variables, self._subject)
            answer = of_run(data, self._subject, self._client)
            lines = answer["history"]
            window.measure(len(lines), sum(map(len, lines)))
            if wanted.is_thinned(len(lines)):
                window.narrow(wanted, rows_of(lines))
                continue
            window.took(wanted, len(lines))
            if lines:
                yield of_lines(lines)

    def check(self, given: int) -> None:
        """Compare with the number of lines that the server counted.

        A running run may have more by now. Whether a server counts a row twice that is in two of its exports
        is not known, so that as many as were united may be missing: that is told.

        Raises:
            IntegrityError: the server gave fewer rows than it has, and that is not accepted.
        """
        if self._count is None or given >= self._count or not self._run.state.is_final:
            return
        if given + self._united < self._count and _MISSING not in self._context.accepted:
            raise IntegrityError(
                f"the server counts {self._count} rows and gave {given or 'none'}",
                side=self._client.side,
                subject=self._subject,
                remedy="what it gave has arrived; ask again, and if it stays so, the rest is lost at the "
                f"source, or it counts otherwise: accept {_MISSING} to take what there is",
            )
        self._context.lose(
            _MISSING,
            f"run {self._run.id}",
            f"the server counts {self._count} rows and gave {given}",
            self._count - given,
        )

    async def _extent(self) -> _Extent:
        variables = address(self._run)
        try:
            data = await self._client.graphql(documents.HISTORY_EXPORTS, variables, self._subject)
        except Unsupported:
            # A server from before the exports.
            data = await self._client.graphql(documents.HISTORY_EXTENT, variables, self._subject)
        answer = of_run(data, self._subject, self._client)
        exports = answer.get("parquetHistory") or {}
        urls, live = tuple(exports.get("parquetUrls") or ()), exports.get("liveData") or ()
        return _Extent(
            count=answer.get("historyLineCount"),
            last_step=int((answer.get("historyKeys") or {}).get("lastStep", -1)),
            parquet_urls=urls,
            first_live=min((int(row["_step"]) for row in live), default=0) if live or not urls else None,
        )

    async def _export_urls(self) -> tuple[str, ...]:
        return (await self._extent()).parquet_urls


@dataclass(frozen=True, slots=True)
class _Window:
    """Steps from ``start`` to before ``stop``, of which at most about ``samples`` rows are given."""

    start: int
    stop: int
    samples: int

    @property
    def width(self) -> int:
        return self.stop - self.start

    def is_thinned(self, rows: int) -> bool:
        """Whether there may be more than the rows that came."""
        return rows >= self.samples and self.width > self.samples


@dataclass(slots=True, kw_only=True)
class _Windows:
    """Cuts a range of steps into windows with a page of rows each, however the rows lie in it.

    Args:
        start: the first step, ``stop`` the one after the last.
        left: about how many rows there are.
        row_bytes: about how long a row is.
    """

    start: int
    stop: int
    left: int
    row_bytes: int
    _rows: int = field(init=False)
    _width: int = 0
    """Steps in the next window at least, 0 to go by the density."""
    _most_width: int | None = None
    """Steps in the next window at most, after one that was too wide."""

    def __post_init__(self) -> None:
        self._rows = max(1, min(MOST_ROWS, FIRST_BYTES // self.row_bytes))

    def next(self) -> _Window | None:
        """What to ask for, None at the end."""
        if self.start >= self.stop:
            return None
        span = self.stop - self.start
        width = max(self._rows, span * self._rows // max(1, self.left), self._width)
        width = min(width, span, self._most_width or span)
        samples = min(width, max(2 * self._rows, min(MOST_SAMPLES, 4 * PAGE_BYTES // self.row_bytes)))
        return _Window(self.start, self.start + width, samples)

    def measure(self, rows: int, size: int) -> None:
        """Rows of so many bytes came."""
        if rows:
            self.row_bytes = max(1, size // rows)
            self._rows = max(1, min(MOST_ROWS, PAGE_BYTES // self.row_bytes))

    def narrow(self, window: _Window, rows: Sequence[Row]) -> None:
        """The rows are not all of the window: a narrower one comes next."""
        # What came is spread over all there is: an eighth of it is surely an eighth of the rows.
        reached = step_of(rows[len(rows) // 8])
        narrower = (reached if reached is not None else window.start) - window.start
        self._most_width, self._width = max(1, min(narrower, window.width // 2)), 0

    def took(self, window: _Window, rows: int) -> None:
        """So many rows are all of the window."""
        self.start, self.left = window.stop, max(1, self.left - rows)
        # Where rows lie in clusters, the density says little: empty windows get wider and wider.
        self._width = 2 * window.width if 2 * rows < self._rows else 0
        self._most_width = None
