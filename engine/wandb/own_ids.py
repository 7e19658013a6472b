"""The client ids of a copy, which are its own.

Rows and summaries speak of versions by ids that the client of the run made up, and an id means one thing on
the whole of a server. A copy that spoke by the ids of its source would mean the versions of whatever copy
came first, or those of the source itself where both are on one server. So a copy has an id for each id of its
source and each of its projects, which follows from both and from nothing else: whoever writes a row and
whoever brings the version, at whatever time and on whatever machine, makes the same of it.

Earlier releases wrote the ids of the source. Those that rows have which such a release wrote are known from
the ledger, and are told to the server as well, unless it knows them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from engine.records import Json, Namespace
from engine.transfer.ledger.memos import Memos
from engine.wandb import artifact_uris
from engine.wandb.reading.client_ids import kept_as_they_were

FindPlace: TypeAlias = Callable[[Namespace], Namespace | None]


def own_id(client_id: str, place: Namespace) -> str:
    """The id by which runs of a project of the destination speak of what runs of the source call so."""
    return hashlib.sha512(f"{place.path}\0{client_id}".encode("utf-8", "surrogatepass")).hexdigest()


def localised(value: Json, place: Namespace) -> Json:
    """A value as runs of a project of the destination have it."""
    return artifact_uris.edited(value, lambda text: _text(text, place))


def localised_row(row: Mapping[str, Json], place: Namespace) -> Mapping[str, Json]:
    """A row, as ``localised``."""
    return artifact_uris.edited_row(row, lambda text: _text(text, place))


def _text(text: str, place: Namespace) -> str:
    return artifact_uris.with_client_ids(text, lambda client_id: own_id(client_id, place))


@dataclass(frozen=True, slots=True)
class OwnIds:
    """The ids of one transfer.

    Attributes:
        target: where a project of the source goes; None if it is not moved.
    """

    memos: Memos
    target: FindPlace
    _kept: dict[Namespace, frozenset[str]] = field(default_factory=dict)

    async def of(
        self, client_ids: Iterable[str], spoken_in: Iterable[Namespace], home: Namespace
    ) -> list[str]:
        """The ids by which runs at the destination speak of something.

        Args:
            client_ids: those of the source.
            spoken_in: the projects of the source whose runs speak of it.
            home: the project of the source that it belongs to.
        """
        speakers = [*spoken_in] or [home]
        places = {place for speaker in speakers if (place := self.target(speaker)) is not None}
        found = [own_id(client_id, place) for place in sorted(places) for client_id in client_ids]
        for speaker in speakers:
            kept = await self._kept_in(speaker)
            found += [client_id for client_id in client_ids if client_id in kept]
        return list(dict.fromkeys(found))

    async def _kept_in(self, project: Namespace) -> frozenset[str]:
        if project not in self._kept:
            self._kept[project] = await kept_as_they_were(self.memos, project)
        return self._kept[project]
