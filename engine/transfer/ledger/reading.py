"""Looks into a ledger without holding or writing it, also while an engine does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import sqlalchemy as sa

from engine.transfer.ledger.items import Given, Item, RunKey
from engine.transfer.ledger.ledger import LEDGER
from engine.transfer.ledger.lookups import Lookups
from engine.transfer.ledger.schema import MIGRATION
from engine.transfer.ledger.store import Store, sqlite_url


class LedgerReader:
    """What a ledger holds of one migration; made by ``read_ledger``."""

    def __init__(self, store: Store, migration: int) -> None:
        self._store = store
        self._migration = migration
        self._runs = Lookups(self._find)

    async def run(self, project: str, run: str) -> Item | None:
        """What is on disk of a run, without its parts."""
        return await self._runs.get((project, run))

    async def items(self, project: str, run: str) -> list[Item]:
        """What is on disk of a run and its parts."""
        return await anyio.to_thread.run_sync(self._store.items, self._migration, project, run)

    async def given(self, wanted: Callable[[Given], bool]) -> list[Given]:
        """Those ids that runs got at the destination and that are wanted."""
        return await anyio.to_thread.run_sync(self._store.given, self._migration, wanted)

    async def _find(self, keys: Collection[RunKey]) -> Mapping[RunKey, Item]:
        return await anyio.to_thread.run_sync(self._store.runs, self._migration, keys)


@asynccontextmanager
async def read_ledger(
    source: str, destination: str, *, state_dir: Path | None, url: str | None = None
) -> AsyncGenerator[LedgerReader | None]:
    """The ledger of a migration; None if there is none yet.

    Args:
        source, destination, state_dir, url: as of ``open_ledger``.

    Raises:
        ConfigError: its address is malformed.
        EngineError: it cannot be read.
    """
    if url is None and (state_dir is None or not (state_dir / LEDGER).is_file()):
        yield None
        return
    url = url or sqlite_url((state_dir or Path()) / LEDGER)
    store = await anyio.to_thread.run_sync(partial(Store, url, writes=False))
    try:
        migration = await anyio.to_thread.run_sync(_number, store, source, destination)
        yield None if migration is None else LedgerReader(store, migration)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(store.close)


def _number(store: Store, source: str, destination: str) -> int | None:
    """The number of a migration, None if it was never begun."""
    with store.reading() as connection:
        if not sa.inspect(connection).has_table(MIGRATION.name):
            return None
        query = sa.select(MIGRATION.c.id).filter_by(source=source, destination=destination)
        number: int | None = connection.execute(query).scalar_one_or_none()
    return number
