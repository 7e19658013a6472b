"""What was moved, on disk, so that nothing is lost and nothing done twice.

One task writes: it commits whatever came in while the commit before was under way, so that a busy transfer
shares one wait for the disk among many items and an idle one waits for nobody. ``note`` hands an item over,
``settle`` also waits until it is on disk; items are written in the order in which they were handed over.
The ledger may lag behind the destination, it never leads. A database that is gone is waited for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import sqlalchemy as sa
from anyio.streams.memory import MemoryObjectSendStream

from engine.errors import EngineError, Outage, Transient
from engine.transfer.background import Background
from engine.transfer.ledger.holder import Holder
from engine.transfer.ledger.items import Given, Item, Kind, RunKey
from engine.transfer.ledger.leases import BEAT_S, Claim, Leases
from engine.transfer.ledger.lock import locked
from engine.transfer.ledger.lookups import Lookups
from engine.transfer.ledger.store import Store, sqlite_url
from engine.transfer.ledger.trail import Line, Trail
from engine.transfer.streams import waiting
from engine.transfer.throttling.breaker import PATIENCE_S

logger = logging.getLogger(__name__)

T = TypeVar("T")

COMMIT = 256
"""Items in one commit at most."""

BACKLOG = 4 * COMMIT
"""Items that may wait; who brings more is held up."""

RETRY_S = 1.0
"""Between attempts to reach a database that is gone."""

PARTING_S = 5.0
"""So long it is waited for when the transfer is over."""

DEFAULT_STATE_DIR = Path(".transfer-engine")
LEDGER = "ledger.sqlite"
LOCK = "lock"


@dataclass(slots=True)
class _Entry:
    """What is to be written; without an item, only to be told when all before it are."""

    item: Item | None = None
    line: Line | None = None
    settled: anyio.Event | None = None
    ended: tuple[RunKey, bool] | None = None
    given: Given | None = None


class Ledger:
    """The items of one migration. Made by ``open_ledger``.

    Args:
        leases: the part of this engine among others; None if nobody else can be at work.
        notices: where to say what is waited for.
    """

    def __init__(
        self,
        store: Store,
        migration: int,
        trail: Trail | None,
        leases: Leases | None = None,
        patience_s: float = PATIENCE_S,
        notices: set[str] | None = None,
    ) -> None:
        self._store = store
        self._migration = migration
        self._trail = trail
        self._leases = leases
        self._patience_s = patience_s
        self._notices = set() if notices is None else notices
        self._closed = anyio.Event()
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

    async def end_run(
        self,
        key: RunKey,
        *,
        proven: bool,
        item: Item | None = None,
        line: Line | None = None,
        settled: bool = False,
    ) -> None:
        """Give a run back, if it was claimed, and settle what became of it.

        Args:
            proven: whether what is on disk then says that nothing is left to do.
            settled: return when it was given back, also if nothing became of it, so that it can be claimed
                again.
        """
        entry = _Entry(item, line, ended=(key, proven))
        if item is not None or (settled and self._leases is not None):
            await self._settle(entry)
        elif self._leases is not None:
            await self._hand_over(entry)

    async def give(self, given: Given, line: Line) -> None:
        """Return when it is on disk which id a run got."""
        await self._settle(_Entry(line=line, given=given))

    async def is_given(self, given: Given) -> bool:
        """Whether it is on disk that a run has this id."""
        return await self._patiently(partial(self._store.is_given, self._migration, given))

    async def given(self, wanted: Callable[[Given], bool]) -> list[Given]:
        """Those ids that runs got, by earlier transfers or this one, which are wanted."""
        return await self._patiently(partial(self._store.given, self._migration, wanted))

    async def claim(self, keys: Collection[RunKey]) -> Mapping[RunKey, Claim]:
        """Take runs for this engine alone; all of them are its own if it does not share.

        Raises:
            Outage: the ledger was lost, or this engine its place in it.
        """
        if self._leases is None:
            return dict.fromkeys(keys, Claim.MINE)
        return await self._patiently(partial(self._leases.claim, keys))

    async def others(self) -> list[Holder]:
        """The other engines that are at work on this migration."""
        return [] if self._leases is None else await self._patiently(self._leases.others)

    @contextmanager
    def notice(self, sentence: str) -> Iterator[None]:
        """Let people see what is waited for in the block."""
        self._notices.add(sentence)
        try:
            yield
        finally:
            self._notices.discard(sentence)

    async def run(self, project: str, run: str) -> Item | None:
        """What is on disk of a run, without its parts; runs that are asked for at a time share the look."""
        return await self._runs.get((project, run))

    async def items(self, project: str, run: str) -> list[Item]:
        """What is on disk of a run and its parts."""
        return await self._patiently(partial(self._store.items, self._migration, project, run))

    async def notes(self, project: str, run: str, kind: Kind, prefix: str = "") -> list[Item]:
        """All items of one kind of a run whose names begin so, also those handed over just now.

        Raises:
            Outage: the ledger cannot be written or read any more.
        """
        await self._settle(_Entry())
        return await self._patiently(partial(self._store.notes, self._migration, project, run, kind, prefix))

    async def _find(self, keys: Collection[RunKey]) -> Mapping[RunKey, Item]:
        return await self._patiently(partial(self._store.runs, self._migration, keys))

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
        self._closed.set()
        self._send.close()

    async def beat(self) -> None:
        """Say every few seconds that this engine is there, until it is struck off."""
        assert self._leases is not None
        while True:
            await anyio.sleep(BEAT_S)
            try:
                await self._patiently(self._leases.beat)
            except EngineError as error:
                logger.warning("%s", error)  # whoever writes next is told, and stops
                return

    async def write(self) -> None:
        """Write until closed, or until it cannot be written; then whoever waits is told so."""
        # Whoever is cancelled has handed over what is true, and it is written.
        with anyio.CancelScope(shield=True), self._receive as entries:
            async for entry in entries:
                batch = [entry, *waiting(entries, COMMIT - 1)]
                try:
                    await self._patiently(partial(self._commit, batch))
                except EngineError as error:
                    self._error = error
                    batch += waiting(entries)
                for written in batch:
                    if written.settled is not None:
                        written.settled.set()
                if self._error is not None:
                    return

    def _commit(self, entries: list[_Entry]) -> None:
        items = [entry.item for entry in entries if entry.item is not None]
        if any(entry.item or entry.ended or entry.given for entry in entries):
            self._store.write(self._migration, items, partial(self._write_more, entries))
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

    def _write_more(self, entries: list[_Entry], connection: sa.Connection) -> None:
        """What there is besides items; first of all that this engine is still there."""
        if self._leases is not None:
            self._leases.renew(connection)
            self._leases.end(connection, [entry.ended for entry in entries if entry.ended is not None])
        self._store.give(connection, self._migration, [entry.given for entry in entries if entry.given])

    async def _patiently(self, call: Callable[[], T]) -> T:
        """The result of a blocking call, once the database answers.

        Raises:
            Outage: it was gone for too long.
        """
        began = time.monotonic()
        notice = f"the ledger {self._store.shown} does not answer"
        while True:
            try:
                result = await anyio.to_thread.run_sync(call)
            except Transient as error:
                patience_s = PARTING_S if self._closed.is_set() else self._patience_s
                if time.monotonic() - began >= patience_s:
                    self._notices.discard(notice)
                    raise Outage(
                        error.message,
                        remedy="when it is back, run the same command again; what it holds stays valid",
                        exc=error,
                    ) from error
                self._notices.add(notice)
                await self._pause()
            else:
                self._notices.discard(notice)
                return result

    async def _pause(self) -> None:
        if self._closed.is_set():
            await anyio.sleep(RETRY_S)
        else:
            with anyio.move_on_after(RETRY_S):
                await self._closed.wait()


@asynccontextmanager
async def open_ledger(
    source: str,
    destination: str,
    *,
    state_dir: Path | None,
    scratch: Path,
    url: str | None = None,
    share: bool = False,
    patience_s: float = PATIENCE_S,
    command: str | None = None,
    notices: set[str] | None = None,
) -> AsyncGenerator[Ledger]:
    """The ledger of a migration; everything that was handed over is written when the block ends.

    Args:
        source: URI without secrets; together with ``destination`` it names the migration.
        state_dir: for the files beside it, and for the ledger itself if it has no ``url``. None: the ledger
            is kept in ``scratch``, without waiting for the disk.
        scratch: a directory that somebody else removes.
        url: of a database.
        share: work together with other engines that do so.
        patience_s: how long a database that was reached may be gone.
        command: by which this engine was started, without secrets, to be told to others.
        notices: where to say that a database, or another engine, is waited for.

    Raises:
        ConfigError: another engine uses it, or it cannot be opened.
    """
    holder = Holder.me(command, shares=share)
    alone = url is None and not share
    durable = url is not None or state_dir is not None
    url = url or sqlite_url((state_dir or scratch) / LEDGER)
    async with AsyncExitStack() as stack:
        trail = None
        if state_dir is not None:
            stack.enter_context(locked(state_dir / LOCK, holder))
            trail = stack.enter_context(Trail(state_dir))
        store = await anyio.to_thread.run_sync(partial(Store, url, durable=durable))
        stack.push_async_callback(_at_last, store.close)
        try:
            migration = await anyio.to_thread.run_sync(store.migration, source, destination)
            leases = None
            # The lock of a state directory is enough for a ledger in it that nobody shares.
            if not alone:
                leases = Leases(store, migration, holder)
                await anyio.to_thread.run_sync(leases.join)
                stack.push_async_callback(_at_last, leases.leave)
        except Transient as error:
            raise Outage(error.message, remedy="run the same command again", exc=error) from error
        tasks = await stack.enter_async_context(Background())
        ledger = Ledger(store, migration, trail, leases, patience_s, notices)
        stack.callback(ledger.close)
        tasks.start_soon(ledger.write)
        if leases is not None:
            tasks.start_soon(ledger.beat)
        yield ledger


async def _at_last(call: Callable[[], None]) -> None:
    """Even if the transfer was cancelled; and a database that is gone needs no farewell."""
    with anyio.CancelScope(shield=True):
        try:
            await anyio.to_thread.run_sync(call)
        except Transient as error:
            logger.warning("%s", error)
