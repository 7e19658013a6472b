"""What is remembered of a run that is half done, so that the next transfer goes on where this one stopped.

A memo is an item of the ledger that is gone when its run is done: the parts of a large object that were
acknowledged, the last row of a history. It lags behind the destination and never leads, so whoever reads one
asks the destination whether it still holds.

    memos = context.memos.of(run, namespace)
    for name, etag in (await memos.find(Kind.OBJECT_PART, f"{path}#")).items():
        ...
    await memos.put(Kind.OBJECT_PART, f"{path}#{number}", etag)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from engine.records import Json, Namespace, Run
from engine.transfer.ledger.items import MEMOS, Item, Kind, State

if TYPE_CHECKING:
    from engine.transfer.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Memos:
    """The memos of one transfer.

    Args:
        ledger: None to remember nothing.
        reads: False to know nothing of what earlier transfers left.
    """

    ledger: Ledger | None = None
    reads: bool = True

    def of(self, run: Run, place: Namespace) -> RunMemos:
        """Those of a run on its way to a place; they are none for another place."""
        return RunMemos(self, run.namespace.path, run.id, place.path)

    def of_project(self, project: Namespace, place: Namespace) -> RunMemos:
        """Those of what belongs to no single run of a project."""
        return RunMemos(self, project.path, "", place.path)


@dataclass(frozen=True, slots=True)
class RunMemos:
    """The memos of one run. ``kind`` is one of ``MEMOS``; which names there are is up to who writes them."""

    _memos: Memos
    _project: str
    _run: str
    _place: str

    async def put(self, kind: Kind, name: str, value: Json, *, settled: bool = False) -> None:
        """Remember a JSON value; it is on disk a moment later, with whatever else was handed over.

        Args:
            settled: return when it is on disk, for what takes back something that will not be true any more.

        Raises:
            Outage: the ledger cannot be written any more.
        """
        await self._note(kind, name, State.PENDING, orjson.dumps(value).decode(), settled=settled)

    async def forget(self, kind: Kind, name: str) -> None:
        """What it is about is done."""
        await self._note(kind, name, State.DONE, None)

    async def get(self, kind: Kind, name: str) -> Json | None:
        """What was last put, by this transfer or an earlier one; None if nothing was."""
        return (await self.find(kind, name)).get(name)

    async def find(self, kind: Kind, prefix: str = "", *, always: bool = False) -> dict[str, Json]:
        """All whose names begin so, by name.

        Args:
            always: also those of earlier transfers of which nothing is to be known.
        """
        if self._memos.ledger is None or not (self._memos.reads or always):
            return {}
        found = await self._memos.ledger.notes(self._project, self._run, kind, prefix)
        return {
            item.name: orjson.loads(item.note)
            for item in found
            if item.note is not None and item.destination == self._place
        }

    async def _note(
        self, kind: Kind, name: str, state: State, note: str | None, *, settled: bool = False
    ) -> None:
        assert kind in MEMOS
        if self._memos.ledger is None:
            return
        item = Item(
            kind=kind,
            project=self._project,
            run=self._run,
            name=name,
            state=state,
            destination=self._place,
            note=note,
        )
        await (self._memos.ledger.settle(item) if settled else self._memos.ledger.note(item))
