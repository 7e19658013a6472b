"""What a server has exported of a history: Parquet files, merged by step.

The files are fetched to the spool one after the other and read a batch at a time. They may overlap; where
two have the same step, the row is made of both. A cell that is null was not logged at that step.

Who makes tables of them takes them as they are, so that no row becomes a Python object.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from functools import partial
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import TypeAlias, TypeVar

import anyio.to_thread
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.downloads import download
from engine.errors import IntegrityError
from engine.records import HistoryRows, Json
from engine.transfer.context import Context
from engine.transfer.throttling.throttle import Endpoint
from engine.wandb.client import WandbClient
from engine.wandb.reading.locating import located
from engine.wandb.spool import spooling, when_there_is_room

STEP = "_step"
BATCH = 1_024
"""Rows that are taken from a file at once."""

BATCH_OF_TABLE = 64 * BATCH

Row = Mapping[str, Json]
Part: TypeAlias = Sequence[Row] | pa.RecordBatch
"""Some rows of a history, in the order of their steps."""

T = TypeVar("T")


class Exports:
    """The exported files of one run.

    Args:
        urls_again: asks for the URLs anew, after one was refused.
    """

    def __init__(
        self,
        client: WandbClient,
        context: Context,
        subject: str,
        urls_again: Callable[[], Awaitable[Sequence[str]]],
    ) -> None:
        self._client = client
        self._context = context
        self._subject = subject
        self._urls_again = urls_again

    def rows(self, urls: Sequence[str]) -> AsyncGenerator[list[Row]]:
        """All rows by step, in lists of bounded length.

        Raises:
            IntegrityError: a file cannot be read, also when it was fetched again.
        """
        return self._read(urls, merged)

    def parts(self, urls: Sequence[str], keys: Sequence[str] = ()) -> AsyncGenerator[Part]:
        """All rows by step, as Arrow has them unless files have to be merged.

        Args:
            keys: see ``united``.

        Raises:
            IntegrityError: as with ``rows``.
        """
        return self._read(urls, partial(united, keys=keys))

    async def _read(
        self, urls: Sequence[str], read: Callable[[Sequence[Path]], Generator[T]]
    ) -> AsyncGenerator[T]:
        with tempfile.TemporaryDirectory(prefix="history-", dir=self._context.spool) as directory:
            paths = []
            for number in range(len(urls)):
                path = Path(directory) / f"{number}.parquet"
                await self._fetch(urls, number, path)
                paths.append(path)
            with closing(read(paths)) as parts:
                while (part := await anyio.to_thread.run_sync(next, parts, None)) is not None:
                    yield part

    async def _fetch(self, urls: Sequence[str], number: int, path: Path) -> None:
        subject = f"export {number} of the {self._subject}"
        for last in (False, True):
            await self._download(urls[number], number, path, subject)
            try:
                await anyio.to_thread.run_sync(_check, path)
            except (pa.ArrowInvalid, OSError, KeyError) as error:
                if last:
                    raise IntegrityError(
                        f"the exported rows cannot be read: {error}",
                        side=self._client.side,
                        subject=subject,
                        exc=error,
                    ) from error
            else:
                return

    async def _download(self, url: str, number: int, path: Path, subject: str) -> None:
        asked = 0

        async def locate() -> tuple[str, Mapping[str, str]]:
            nonlocal asked, url
            if asked:
                url = (await self._urls_again())[number]
            asked += 1
            return await located(self._client, url)

        pieces = download(
            self._client.http,
            locate,
            Endpoint.OBJECTS,
            size=None,
            subject=subject,
            anonymous=True,
            signings=2,
        )
        position = 0
        await when_there_is_room(self._context, _write, path, 0, b"")
        async with aclosing(pieces):
            async for piece in pieces:
                await when_there_is_room(self._context, _write, path, position, piece)
                position += len(piece)


def _write(path: Path, position: int, piece: bytes) -> None:
    """Write what follows ``position``; may be done again after it failed half-way."""
    with spooling(path.parent), path.open("r+b" if position else "wb") as file:
        file.seek(position)
        file.write(piece)


def _check(path: Path) -> None:
    with pq.ParquetFile(path) as file:
        if STEP not in file.schema_arrow.names:
            raise KeyError(f"there is no column {STEP}")


def united(paths: Sequence[Path], keys: Sequence[str] = ()) -> Generator[Part]:
    """The rows of several files by step: as batches if each file follows the one before, else ``merged``.

    Args:
        keys: whose columns are wanted, beside that of the steps; all if there are none. A key with dots may
            also be within a nested column.
    """
    if not _follow_each_other(paths):
        yield from merged(paths)
        return
    for path in paths:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            columns = [name for name in names if name == STEP or _is_wanted(name, keys)] if keys else names
            yield from file.iter_batches(BATCH_OF_TABLE, columns=columns)


def _is_wanted(column: str, keys: Sequence[str]) -> bool:
    return any(key == column or key.startswith(f"{column}.") for key in keys)


def _follow_each_other(paths: Sequence[Path]) -> bool:
    """Whether each file is in the order of steps, and has later ones than the file before."""
    spans = []
    for path in paths:
        with pq.ParquetFile(path) as file:
            if not file.metadata.num_rows:
                continue
            if (span := _span(file)) is None:
                return False
            spans.append(span)
    return all(one[1] < other[0] for one, other in pairwise(spans))


def merged(paths: Sequence[Path]) -> Generator[list[Row]]:
    """The rows of several files by step, in lists of bounded length."""
    parts = [_numbered(number, path) for number, path in enumerate(paths)]
    out: list[Row] = []
    for _, same_step in groupby(heapq.merge(*parts, key=itemgetter(0, 1)), key=itemgetter(0)):
        out.extend(_united([(number, row) for _, number, row in same_step]))
        if len(out) >= HistoryRows.CHUNK_ROWS:
            yield out
            out = []
    if out:
        yield out


def _united(rows: Sequence[tuple[int, Row]]) -> list[Row]:
    """The rows of one step: those of one file stay apart, those of several files are parts of each other."""
    if rows[0][0] == rows[-1][0]:
        return [row for _, row in rows]
    united: list[dict[str, Json]] = []
    for _, of_file in groupby(rows, key=itemgetter(0)):
        for place, (_, row) in enumerate(of_file):
            if place == len(united):
                united.append({})
            united[place].update(row)
    return list(united)


def _numbered(number: int, path: Path) -> Iterator[tuple[int, int, Row]]:
    for row in _rows_in(path):
        yield int(row.get(STEP, -1)), number, row


def _rows_in(path: Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows and _span(file) is None:
            yield from as_logged(file.read().sort_by(STEP))
            return
        for batch in file.iter_batches(BATCH):
            yield from as_logged(batch)


def _span(file: pq.ParquetFile) -> tuple[int, int] | None:
    """The first step and the last one; None if the rows are in another order. Rows without one come first."""
    first = last = None
    for batch in file.iter_batches(BATCH_OF_TABLE, columns=[STEP]):
        steps = pc.fill_null(batch.column(0), -1)
        if len(steps) == 0:
            continue
        begins, ends = steps[0].as_py(), steps[-1].as_py()
        if last is not None and begins < last:
            return None
        if len(steps) > 1 and not pc.all(pc.less_equal(steps[:-1], steps[1:])).as_py():
            return None
        first, last = begins if first is None else first, ends
    assert first is not None
    assert last is not None
    return first, last


def as_logged(table: pa.Table | pa.RecordBatch) -> Iterator[Row]:
    """The rows, with what was logged at their steps."""
    nested = {field.name for field in table.schema if pa.types.is_nested(field.type)}
    for row in table.to_pylist():
        yield {
            key: without_nulls(value) if key in nested else value
            for key, value in row.items()
            if value is not None
        }


def without_nulls(value: Json) -> Json:
    """A nested value: what is null in a struct was not there; what is null in a list was."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value
