"""What was moved, on disk, so that nothing is lost and nothing done twice.

One task writes: it commits whatever came in while the commit before was under way, so that a busy transfer
shares one wait for the disk among many items and an idle one waits for nobody. ``note`` hands an item over,
``settle`` also waits until it is on disk; items are written in the order in which they were handed over.
The ledger may lag behind the destination, it never leads.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from engine.errors import EngineError, Outage
from engine.transfer.background import Background
from engine.transfer.ledger_schema import Kind
from engine.transfer.ledger_store import Item, RunKey, Store, sqlite_url
from engine.transfer.lock import locked
from engine.transfer.lookups import Lookups
from engine.transfer.trail import Line, Trail

COMMIT = 256
"""Items in one commit at most."""

BACKLOG = 4 * COMMIT
"""Items that may wait; who brings more is held up."""

DEFAULT_STATE_DIR = Path(".transfer-engine")
LEDGER = "ledger.sqlite"
LOCK = "lock"


@dataclass(slots=True)
class _Entry:
    """What is to be written; without an item, only to be told when all before it are."""

    item: Item | None = None
    line: Line | None = None
    settled: anyio.Event | None = None


class Ledger:
    """The items of one migration. Made by ``open_ledger``."""

    def __init__(self, store: Store, migration: int, trail: Trail | None) -> None:
        self._store = store
        self._migration = migration
        self._trail = trail
        self._error: EngineError | None = None
        self._runs = Lookups(self._find)
        self._send: MemoryObjectSendStream[_Entry]
        self._send, self._receive = anyio.create_memory_object_stream[_Entry](BACKLOG)

    async def note(self, item: Item, line: Line | None = None) -> None:
        """Hand over an item, to be written before all that come later.

        Raises:
            Outage: the ledger cannot be written any more.
        """
        await self._hand_over(_Entry(item, line))

    async def settle(self, item: Item, line: Line | None = None) -> None:
        """Return when the item, and all that came before it, will survive anything.

        Raises:
            Outage: the ledger cannot be written any more.
        """
        await self._settle(_Entry(item, line))

    async def run(self, project: str, run: str) -> Item | None:
        """What is on disk of a run, without its parts; runs that are asked for at a time share the look."""
        return await self._runs.get((project, run))

    async def items(self, project: str, run: str) -> list[Item]:
        """What is on disk of a run and its parts."""
        return await anyio.to_thread.run_sync(self._store.items, self._migration, project, run)

    async def notes(self, project: str, run: str, kind: Kind, prefix: str = "") -> list[Item]:
        """All items of one kind of a run whose names begin so, also those handed over just now.

        Raises:
            Outage: the ledger cannot be written or read any more.
        """
        await self._settle(_Entry())
        return await anyio.to_thread.run_sync(self._store.notes, self._migration, project, run, kind, prefix)

    async def _find(self, keys: Collection[RunKey]) -> Mapping[RunKey, Item]:
        return await anyio.to_thread.run_sync(self._store.runs, self._migration, keys)

    async def _settle(self, entry: _Entry) -> None:
        entry.settled = anyio.Event()
        await self._hand_over(entry)
        await entry.settled.wait()
        if self._error is not None:
            raise self._error

    async def _hand_over(self, entry: _Entry) -> None:
        try:
            await self._send.send(entry)
        except anyio.BrokenResourceError:
            assert self._error is not None
            raise self._error from None

    def close(self) -> None:
        """Take nothing more; what was handed over is still written."""
        self._send.close()

    async def write(self) -> None:
        """Write until closed, or until it cannot be written; then whoever waits is told so."""
        # Whoever is cancelled has handed over what is true, and it is written.
        with anyio.CancelScope(shield=True), self._receive as entries:
            async for entry in entries:
                batch = [entry, *_waiting(entries, COMMIT - 1)]
                try:
                    await anyio.to_thread.run_sync(self._commit, batch)
                except EngineError as error:
                    self._error = error
                    batch += _waiting(entries)
                for written in batch:
                    if written.settled is not None:
                        written.settled.set()
                if self._error is not None:
                    return

    def _commit(self, entries: list[_Entry]) -> None:
        items = [entry.item for entry in entries if entry.item is not None]
        if items:
            self._store.write(self._migration, items)
        if self._trail is None:
            return
        try:
            self._trail.add(entry.line for entry in entries if entry.line is not None)
        except OSError as error:
            raise Outage(
                f"the files beside the ledger cannot be written: {error.strerror}",
                remedy="mend that and run the same command again",
                exc=error,
            ) from error


def _waiting(entries: MemoryObjectReceiveStream[_Entry], limit: int = sys.maxsize) -> list[_Entry]:
    found: list[_Entry] = []
    while len(found) < limit:
        try:
            found.append(entries.receive_nowait())
        except (anyio.WouldBlock, anyio.EndOfStream):
            break
    return found


@asynccontextmanager
async def open_ledger(
    source: str, destination: str, *, state_dir: Path | None, scratch: Path
) -> AsyncGenerator[Ledger]:
    """The ledger of a migration; everything that was handed over is written when the block ends.

    Args:
        source: URI without secrets; together with ``destination`` it names the migration.
        state_dir: where the ledger is kept. None: in ``scratch``, without waiting for the disk.
        scratch: a directory that somebody else removes.

    Raises:
        ConfigError: another engine uses it, or it cannot be opened.
    """
    with ExitStack() as stack:
        trail = None
        if state_dir is not None:
            stack.enter_context(locked(state_dir / LOCK))
            trail = stack.enter_context(Trail(state_dir))
        url = sqlite_url((state_dir or scratch) / LEDGER)
        async with _opened(url, source, destination, trail, durable=state_dir is not None) as ledger:
            yield ledger


@asynccontextmanager
async def _opened(
    url: str, source: str, destination: str, trail: Trail | None, *, durable: bool
) -> AsyncGenerator[Ledger]:
    store = await anyio.to_thread.run_sync(partial(Store, url, durable=durable))
    try:
        migration = await anyio.to_thread.run_sync(store.migration, source, destination)
        async with Background() as tasks:
            ledger = Ledger(store, migration, trail)
            tasks.start_soon(ledger.write)
            try:
                yield ledger
            finally:
                ledger.close()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(store.close)
