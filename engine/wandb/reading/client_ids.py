"""Versions that runs speak of in their rows and summaries, by ids that a client made up.

A table that is logged goes into an artifact that has no id of the server yet, so that the row says
``wandb-client-artifact://<client id>:latest/<path>``, and the server is asked by ``clientIDMapping`` which
version, or which collection, that became. Rows go as they are; what matters is that the other server can
answer the same question. What a row says by an id of this server, which no other one knows, it is made to
say by a client id that follows from that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from engine.records import Collection, Json, Namespace, Version
from engine.transfer.context import Context
from engine.transfer.ledger.items import Kind
from engine.wandb import artifact_uris
from engine.wandb.client import WandbClient
from engine.wandb.reading.artifacts import id_of

AT_ONCE = 50
"""Client ids in one question."""

_CLIENT: Final = re.compile(r"wandb-client-artifact://([0-9a-zA-Z]+)")
_OURS: Final = re.compile(r"wandb-artifact://([0-9a-fA-F]{8,})(?=[:/])")
_NESTED: Final = frozenset({dict, list})
_MEMOS: Final = Namespace("", "client ids")


@dataclass(slots=True)
class ClientIds:
    """The client ids that the runs of one source speak of, and what they stand for.

    Those of rows are kept in the ledger, as the rows of a run that has arrived are not read again.
    """

    client: WandbClient
    context: Context
    projects: set[Namespace] = field(default_factory=set)
    """Those whose runs were listed."""
    _seen: dict[str, str | None] = field(default_factory=dict)
    """The id at the server, None if it was not asked yet, empty if it knows of none."""
    _unsaved: set[str] = field(default_factory=set)
    _saved: set[str] = field(default_factory=set)
    """Those of rows that were read in this transfer."""
    _earlier: set[str] = field(default_factory=set)
    """Those that earlier transfers knew."""
    _told: set[str] = field(default_factory=set)
    """Ids at the server of all collections and versions that were told."""
    _recalled: set[Namespace] = field(default_factory=set)

    def portable(self, value: Json) -> Json:
        """A value without ids that only this server knows; what it speaks of is remembered."""
        if isinstance(value, str):
            return self._text(value) if "artifact://" in value else value
        if isinstance(value, dict):
            return {key: self.portable(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.portable(item) for item in value]
        return value

    def _text(self, text: str) -> str:
        told = _OURS.sub(self._made_up, text)
        for client_id in _CLIENT.findall(told):
            self._see(client_id, None)
        return told

    def _see(self, client_id: str, server_id: str | None) -> None:
        if client_id not in self._seen:
            self._seen[client_id] = server_id
            self._unsaved.add(client_id)

    def _made_up(self, match: re.Match[str]) -> str:
        found = artifact_uris.by_id(f"{match[0]}/")
        if found is None:
            return match[0]
        client_id = hashlib.sha512(f"{self.client.base_url}\0{found[0]}".encode()).hexdigest()
        self._see(client_id, found[0])
        return f"wandb-client-artifact://{client_id}"

    def row(self, row: Mapping[str, Json]) -> Mapping[str, Json]:
        """A row, as ``portable``."""
        # Only media speak of artifacts, and most rows have none.
        if _NESTED.isdisjoint(map(type, row.values())):
            return row
        return {key: self.portable(value) for key, value in row.items()}

    async def remember(self, namespace: Namespace) -> None:
        """Keep those that were seen since the last time."""
        memos = self.context.memos.of_project(namespace, _MEMOS)
        while self._unsaved:
            client_id = self._unsaved.pop()
            self._saved.add(client_id)
            await memos.put(Kind.REFERENCE, client_id, self._seen[client_id])

    async def tell(
        self, collection: Collection, versions: Sequence[Version]
    ) -> tuple[Collection, tuple[Version, ...]]:
        """A collection and its versions with the client ids that stand for them."""
        # Rows also speak of versions of other projects; those of runs that arrived are not read again.
        for namespace in {collection.namespace, *self.projects}:
            await self._recall(namespace)
        await self._ask()
        self._told.update([collection.locator, *(id_of(version.artifact) for version in versions)])
        ids: dict[str, list[str]] = {}
        for client_id, server_id in sorted(self._seen.items()):
            if server_id:
                ids.setdefault(server_id, []).append(client_id)
        return (
            replace(collection, client_ids=tuple(ids.get(collection.locator, ()))),
            tuple(
                replace(version, client_ids=tuple(ids.get(id_of(version.artifact), ())))
                for version in versions
            ),
        )

    async def _recall(self, namespace: Namespace) -> None:
        if namespace not in self._recalled:
            self._recalled.add(namespace)
            memos = self.context.memos.of_project(namespace, _MEMOS)
            # Others who share the transfer read some of its rows in any case.
            found = await memos.find(Kind.REFERENCE, always=True)
            self._earlier |= found.keys() - self._saved
            for client_id, server_id in found.items():
                self._seen.setdefault(client_id, server_id)

    async def _ask(self) -> None:
        for some in _batches([one for one, server_id in self._seen.items() if server_id is None]):
            self._seen.update(await mapped(self.client, some))

    async def tell_unmoved(self) -> None:
        """Record which ids stand for nothing that was told, unless an earlier transfer did."""
        for namespace in self.projects:
            await self._recall(namespace)
        await self._ask()
        for client_id in sorted(self._seen.keys() - self._earlier):
            if self._seen[client_id] not in self._told:
                detail = f"rows or summaries speak of {artifact_uris.CLIENT}{client_id}, which is not moved"
                self.context.lose("reference_unresolved", f"artifact {client_id[:12]}", detail)


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


def _batches(client_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(client_ids), AT_ONCE):
        yield client_ids[start : start + AT_ONCE]
