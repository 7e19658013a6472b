"""Which id a run got at the destination, where that is not its own.

Kept in the ledger, and for people in ``id_map.jsonl`` beside it: one line for each run that got a new id,
added when the destination had taken it, and never changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from engine.records import Namespace, Run
from engine.transfer.ledger.items import Given
from engine.transfer.ledger.trail import id_line

if TYPE_CHECKING:
    from engine.transfer.ledger.ledger import Ledger


class GivenIds(Protocol):
    """A ledger to look into."""

    async def given(self, wanted: Callable[[Given], bool]) -> list[Given]:
        """Those ids that runs got and that are wanted."""
        ...


@dataclass(frozen=True, slots=True)
class IdMap:
    """The new ids of one transfer.

    Args:
        ids: what is known; None: nothing.
        ledger: where to remember more; None: nowhere.
    """

    ids: GivenIds | None = None
    ledger: Ledger | None = None

    async def where(self, wanted: Callable[[Given], bool]) -> list[Given]:
        """Those that earlier transfers gave and that are ``wanted``."""
        return [] if self.ids is None else await self.ids.given(wanted)

    async def add(self, run: Run, place: Namespace, new_id: str, reason: str) -> None:
        """Return when it is on disk that a run has this id there."""
        given = Given(project=run.namespace.path, run=run.id, place=place.path, id=new_id)
        if self.ledger is not None and not await self.ledger.is_given(given):
            await self.ledger.give(given, id_line(run, place, new_id, reason))
