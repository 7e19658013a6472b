"""What only keeps numbers and owns versions while a collection is written, and is gone afterwards.

The server numbers versions in the order of their commits, so that a version keeps its number only if those
before it were there once. For each that the source has no more, an empty version takes the number and is
deleted when the collection is done. A transfer that was killed leaves some behind; they are known by their
description, so that the next one counts them in and deletes them.

A version has to be logged by a run. One whose run is gone is logged by a run that is deleted, too.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import orjson

from engine.errors import NotFound
from engine.fanout import for_each
from engine.records import Json, Version
from engine.wandb import documents
from engine.wandb.collections.place import Made, Place
from engine.wandb.versions.manifest import Entry

PLACEHOLDER: Final = "Placeholder of transfer-engine: keeps a version number until the transfer is done"
"""The description of such a version, and the display name of such a run."""

PATH: Final = "placeholder"

TOGETHER = 8
"""Placeholders that are made, or deleted, at a time; which of them gets which number is all the same."""

LEFT_BEHIND = 100
"""Runs of transfers that were killed which are looked for."""


def is_placeholder(version: Version) -> bool:
    return version.artifact.description == PLACEHOLDER


async def fill(place: Place, run_id: str, numbers: range) -> Sequence[Made]:
    """Make one placeholder for each of the next numbers."""
    made: list[Made] = []

    async def one(_number: int) -> None:
        nonce = secrets.token_hex(64)
        # A reference needs no upload.
        entry = Entry(path=PATH, digest=f"placeholder://{nonce}", size=0, ref=f"placeholder://{nonce}")
        made.append(await place.make({"description": PLACEHOLDER}, run_id, [entry], nonce))

    await for_each(numbers, one, limit=TOGETHER)
    return made


async def remove(place: Place, version_ids: Iterable[str]) -> None:
    await for_each(version_ids, place.delete, limit=TOGETHER)


@dataclass(slots=True)
class PlaceholderRun:
    """The run that logs what no other run can, made when it is needed."""

    place: Place
    _name: str | None = None
    _ids: list[str] = field(default_factory=list)
    """Storage ids of this one and of those that were left behind."""

    async def name(self) -> str:
        if self._name is None:
            await self.find()
        if self._name is None:
            await self._make()
        assert self._name is not None
        return self._name

    @property
    def _group(self) -> str:
        """Tells the runs of this collection from those of others that are written at the same time."""
        return f"{PLACEHOLDER}: {self.place.name}"

    @property
    def _where(self) -> dict[str, Json]:
        return {"entity": self.place.namespace.entity, "project": self.place.namespace.project}

    async def find(self) -> None:
        """Take over those that a transfer left behind."""
        if self._name is not None:
            return
        filters = orjson.dumps({"group": self._group}).decode()
        data = await self.place.client.graphql(
            documents.RUNS_OF_GROUP,
            {**self._where, "filters": filters, "first": LEFT_BEHIND},
            self.place.subject,
        )
        for edge in data["project"]["runs"]["edges"] if data.get("project") else ():
            self._name = edge["node"]["name"]
            self._ids.append(edge["node"]["id"])

    async def _make(self) -> None:
        # Never an id that was used: the server does not take those of deleted runs again.
        name = f"placeholder-{secrets.token_hex(8)}"
        data = await self.place.client.graphql(
            documents.UPSERT_RUN,
            {**self._where, "name": name, "displayName": PLACEHOLDER, "groupName": self._group},
            self.place.subject,
        )
        self._name = name
        self._ids.append(data["upsertBucket"]["bucket"]["id"])

    async def remove(self) -> None:
        """Delete it, if it was made or found; what it logged stays."""
        for storage_id in self._ids:
            with suppress(NotFound):  # deleted, and the answer was lost
                await self.place.client.graphql(documents.DELETE_RUN, {"id": storage_id}, self.place.subject)
        self._ids.clear()
        self._name = None
