"""Versions that runs speak of in their rows and summaries, by ids that a client made up.

A table that is logged goes into an artifact that has no id of the server yet, so that the row says
``wandb-client-artifact://<client id>:latest/<path>``, and the server is asked by ``clientIDMapping`` which
version, or which collection, that became; another server can be taught to answer the same question. What a
row says by an id of this server, which no other one knows, it is made to say by a client id that follows from
that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypedDict

from engine.records import Collection, Json, Namespace, Version
from engine.transfer.context import Context
from engine.transfer.ledger.items import Kind
from engine.transfer.ledger.memos import Memos
from engine.wandb import artifact_uris
from engine.wandb.client import WandbClient
from engine.wandb.reading.artifacts import id_of

AT_ONCE = 50
"""Client ids in one question."""

_OURS: Final = re.compile(r"wandb-artifact://([0-9a-fA-F]{8,})(?=[:/])")
_MEMOS: Final = Namespace("", "client ids")
_SERVER, _KEPT = "server", "kept"
"""What a memo tells: the id at the server, and whether the destination has rows that say it as it was."""


@dataclass(slots=True)
class ClientIds:
    """The client ids that the runs of one source speak of, and what they stand for.

    Those of rows are kept in the ledger, as the rows of a run that has arrived are not read again.
    """

    client: WandbClient
    context: Context
    projects: set[Namespace] = field(default_factory=set)
    """Those that are moved, of whose runs earlier transfers may have told."""
    _seen: dict[str, str | None] = field(default_factory=dict)
    """The id at the server, None if it was not asked yet, empty if it knows of none."""
    _speakers: dict[str, set[Namespace]] = field(default_factory=dict)
    """The projects whose runs speak of it."""
    _unsaved: dict[Namespace, set[str]] = field(default_factory=dict)
    _saved: set[str] = field(default_factory=set)
    """Those of rows that were read in this transfer."""
    _earlier: set[str] = field(default_factory=set)
    """Those that earlier transfers knew."""
    _told: set[str] = field(default_factory=set)
    """Ids at the server of all collections and versions that were told."""
    _recalled: dict[Namespace, frozenset[str]] = field(default_factory=dict)
    """Projects whose memos were read, with those that the destination has as they were."""

    def portable(self, value: Json, project: Namespace) -> Json:
        """A value without ids that only this server knows; what it speaks of is remembered.

        Args:
            project: of the run that it is of.
        """
        return artifact_uris.edited(value, partial(self._text, project))

    def row(self, row: Mapping[str, Json], project: Namespace) -> Mapping[str, Json]:
        """A row, as ``portable``."""
        return artifact_uris.edited_row(row, partial(self._text, project))

    def _text(self, project: Namespace, text: str) -> str:
        told = _OURS.sub(partial(self._made_up, project), text)
        for client_id in artifact_uris.client_ids_in(told):
            self._see(client_id, None, project)
        return told

    def _see(self, client_id: str, server_id: str | None, project: Namespace) -> None:
        self._seen.setdefault(client_id, server_id)
        speakers = self._speakers.setdefault(client_id, set())
        if project not in speakers:
            speakers.add(project)
            self._unsaved.setdefault(project, set()).add(client_id)

    def _made_up(self, project: Namespace, match: re.Match[str]) -> str:
        found = artifact_uris.by_id(f"{match[0]}/")
        if found is None:
            return match[0]
        client_id = hashlib.sha512(f"{self.client.base_url}\0{found[0]}".encode()).hexdigest()
        self._see(client_id, found[0], project)
        return f"{artifact_uris.CLIENT}{client_id}"

    async def remember(self, project: Namespace) -> None:
        """Keep those that runs of a project spoke of since the last time."""
        if not self._unsaved.get(project):
            return
        memos = self.context.memos.of_project(project, _MEMOS)
        kept = await self._recall(project)
        while unsaved := self._unsaved[project]:
            client_id = unsaved.pop()
            self._saved.add(client_id)
            memo = {_SERVER: self._seen[client_id], _KEPT: client_id in kept}
            await memos.put(Kind.REFERENCE, client_id, memo)

    async def tell(
        self, collection: Collection, versions: Sequence[Version]
    ) -> tuple[Collection, tuple[Version, ...]]:
        """A collection and its versions with the client ids that stand for them."""
        # Rows also speak of versions of other projects; those of runs that arrived are not read again.
        await self._recall_all({collection.namespace})
        await self._ask()
        self._told.update([collection.locator, *(id_of(version.artifact) for version in versions)])
        ids: dict[str, list[str]] = {}
        for client_id, server_id in sorted(self._seen.items()):
            if server_id:
                ids.setdefault(server_id, []).append(client_id)

        def spoken(server_id: str) -> _Spoken:
            client_ids = ids.get(server_id, ())
            speakers = {speaker for client_id in client_ids for speaker in self._speakers[client_id]}
            return {"client_ids": tuple(client_ids), "spoken_in": tuple(sorted(speakers))}

        return (
            replace(collection, **spoken(collection.locator)),
            tuple(replace(version, **spoken(id_of(version.artifact))) for version in versions),
        )

    async def _recall_all(self, projects: set[Namespace]) -> None:
        for project in sorted(self.projects | projects):
            await self._recall(project)

    async def _recall(self, project: Namespace) -> frozenset[str]:
        """Learn of what runs of a project spoke in earlier transfers; those that were kept as they were."""
        if project not in self._recalled:
            memos = self.context.memos
            # Others who share the transfer read some of its rows in any case.
            found = await memos.of_project(project, _MEMOS).find(Kind.REFERENCE, always=True)
            self._recalled[project] = _kept(found) if memos.reads else frozenset()
            self._earlier |= found.keys()
            for client_id, memo in found.items():
                self._seen.setdefault(client_id, _server_id(memo))
                self._speakers.setdefault(client_id, set()).add(project)
        return self._recalled[project]

    async def _ask(self) -> None:
        asked = [one for one, server_id in self._seen.items() if server_id is None]
        self._seen.update(await all_mapped(self.client, asked))

    async def tell_unmoved(self) -> None:
        """Record which ids stand for nothing that was told, unless an earlier transfer did."""
        await self._recall_all(set())
        await self._ask()
        for client_id in sorted(self._seen.keys() - (self._earlier - self._saved)):
            if self._seen[client_id] not in self._told:
                detail = f"rows or summaries speak of {artifact_uris.CLIENT}{client_id}, which is not moved"
                self.context.lose("reference_unresolved", f"artifact {client_id[:12]}", detail)


class _Spoken(TypedDict):
    client_ids: tuple[str, ...]
    spoken_in: tuple[Namespace, ...]


async def kept_as_they_were(memos: Memos, project: Namespace) -> frozenset[str]:
    """The client ids that rows at the destination say as they were; see ``engine.wandb.own_ids``."""
    return _kept(await memos.of_project(project, _MEMOS).find(Kind.REFERENCE))


def _kept(memos: Mapping[str, Json]) -> frozenset[str]:
    # Releases that kept all of them had nothing to tell but the id at the server.
    return frozenset(
        client_id for client_id, memo in memos.items() if not isinstance(memo, dict) or memo[_KEPT]
    )


def _server_id(memo: Json) -> str | None:
    server_id: str | None = memo[_SERVER] if isinstance(memo, dict) else memo
    return server_id


async def all_mapped(client: WandbClient, client_ids: Sequence[str]) -> dict[str, str]:
    """What these stand for at a server, as ``mapped``, in a question for each 50."""
    found: dict[str, str] = {}
    for start in range(0, len(client_ids), AT_ONCE):
        found |= await mapped(client, client_ids[start : start + AT_ONCE])
    return found


async def mapped(client: WandbClient, client_ids: Sequence[str]) -> dict[str, str]:
    """What these stand for at a server, in one question; empty for those that it does not know."""
    asked = " ".join(f"$c{number}: ID!" for number in range(len(client_ids)))
    fields = " ".join(
        f"c{number}: clientIDMapping(clientID: $c{number}) {{ serverID }}"
        for number in range(len(client_ids))
    )
    variables = {f"c{number}": client_id for number, client_id in enumerate(client_ids)}
    data = await client.graphql(f"query ClientIds({asked}) {{ {fields} }}", variables, "client ids")
    return {
        client_id: (data.get(f"c{number}") or {}).get("serverID") or ""
        for number, client_id in enumerate(client_ids)
    }
