"""What a server has exported of a history: where its Parquet files are, and how they get here.

Small ones stay in memory, large ones go to the spool, one after the other. They are read a batch at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, aclosing, closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio.to_thread
import pyarrow as pa

from engine.downloads import download
from engine.errors import IntegrityError
from engine.transfer.context import Context
from engine.transfer.throttling.throttle import Endpoint
from engine.wandb.client import WandbClient
from engine.wandb.reading.locating import located
from engine.wandb.reading.parquet import Content, check, merged, united
from engine.wandb.reading.rows import Part, Row
from engine.wandb.uploads.spool import spooling, when_there_is_room

IN_MEMORY = 1024 * 1024
"""Bytes of a file that need no place on the disk."""

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
        self, urls: Sequence[str], read: Callable[[Sequence[Content]], Generator[T]]
    ) -> AsyncGenerator[T]:
        with ExitStack() as spooled:
            contents = [await self._fetch(urls, number, spooled) for number in range(len(urls))]
            with closing(read(contents)) as parts:
                while (part := await anyio.to_thread.run_sync(next, parts, None)) is not None:
                    yield part

    async def _fetch(self, urls: Sequence[str], number: int, spooled: ExitStack) -> Content:
        subject = f"export {number} of the {self._subject}"
        for last in (False, True):
            content = await self._download(urls[number], number, subject, spooled)
            try:
                await anyio.to_thread.run_sync(check, content)
            except (pa.ArrowInvalid, OSError, KeyError) as error:
                if last:
                    raise IntegrityError(
                        f"the exported rows cannot be read: {error}",
                        side=self._client.side,
                        subject=subject,
                        exc=error,
                    ) from error
            else:
                break
        return content

    async def _download(self, url: str, number: int, subject: str, spooled: ExitStack) -> Content:
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
        waiting, path, position = bytearray(), None, 0
        async with aclosing(pieces):
            async for piece in pieces:
                waiting += piece
                if len(waiting) < IN_MEMORY:
                    continue
                if path is None:
                    path = Path(spooled.enter_context(self._directory())) / "rows.parquet"
                await when_there_is_room(self._context, _write, path, position, waiting)
                position += len(waiting)
                waiting.clear()
        if path is None:
            return pa.py_buffer(waiting)
        await when_there_is_room(self._context, _write, path, position, waiting)
        return path

    def _directory(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="history-", dir=self._context.spool)


def _write(path: Path, position: int, piece: bytearray) -> None:
    """Write what follows ``position``; may be done again after it failed half-way."""
    with spooling(path.parent), path.open("r+b" if position else "wb") as file:
        file.seek(position)
        file.write(piece)
