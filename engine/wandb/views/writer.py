"""Reports, drafts and saved views at the destination.

A view is found again by its id, which the ledger knows; or by where it came from, which is in its spec under
``_import`` along with who made it and when, as nobody can set that; or by its name, as W&B's importer brought
it. It is only written if what it has to be is not what was last written. The ledger and ``_import`` know that
as a digest, so that what somebody changed at the destination meanwhile is seen, and never written over.

Source: ``reports/v2/gql.py`` of wandb-workspaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from engine.errors import Conflict, Side
from engine.fingerprints import fingerprint
from engine.records import Json, Namespace, Receipt
from engine.reports import View
from engine.transfer.context import Context
from engine.wandb.client import WandbClient
from engine.wandb.jsontext import encode_json
from engine.wandb.mapping import PROVENANCE
from engine.wandb.names import short_hash
from engine.wandb.reading.reports import list_views
from engine.wandb.views.files import ReportFiles
from engine.wandb.views.mapping import MappedView, ViewMapping, origin_of
from engine.wandb.views.references import References

UPSERT_VIEW: Final = """
mutation UpsertView(
  $id: ID, $entity: String, $project: String, $type: String, $name: String, $displayName: String,
  $description: String, $spec: String, $parentId: ID
) {
  upsertView(input: {
    id: $id, entityName: $entity, projectName: $project, type: $type, name: $name, displayName: $displayName,
    description: $description, spec: $spec, parentId: $parentId, createdUsing: WANDB_SDK
  }) { view { id } inserted }
}
"""

WRITTEN: Final = "written"
"""Under ``_import``: the digest of all else that was written."""


@dataclass(slots=True)
class _Held:
    """A view at the destination.

    Attributes:
        looks: the digest of what it is.
        written: of what was last written there; None if nobody knows.
    """

    id: str
    looks: str
    written: str | None


@dataclass(slots=True)
class _Shelf:
    """The views of one kind in a project."""

    by_id: dict[str, _Held] = field(default_factory=dict)
    by_origin: dict[str, _Held] = field(default_factory=dict)
    by_name: dict[str, _Held] = field(default_factory=dict)

    def find(self, view_id: str | None, origin: str, name: str) -> _Held | None:
        return self.by_id.get(view_id or "") or self.by_origin.get(origin) or self.by_name.get(name)


@dataclass(slots=True)
class WandbViewWriter:
    """A ``ViewWriter``."""

    client: WandbClient
    context: Context
    references: References
    files: ReportFiles
    _shelves: dict[tuple[Namespace, str], _Shelf] = field(default_factory=dict)
    _owners: dict[tuple[Namespace, str, str], str] = field(default_factory=dict)
    _written: set[str] = field(default_factory=set)

    async def write(self, view: View, note: Json | None, *, last: bool) -> Receipt | None:
        told: Mapping[str, str] = note or {}
        if "id" in told:
            self.references.views.setdefault(view.id, told["id"])
        mapped = await ViewMapping(self.client, self.references).of(view)
        waits = bool(mapped.links) and not last
        if waits and view.id in self.references.views:
            return None
        name = self._name(view)
        looks = _looks(name, mapped.title, mapped.description, mapped.spec)
        if looks == told.get(WRITTEN):
            return Receipt(items=1, skipped=True, note=note)
        held = (await self._shelf(view)).find(told.get("id"), view.id, name)
        if held is not None:
            self.references.views[view.id] = held.id
            if waits:
                return None
        if held is None or self._has_to_change(view, held, looks, told.get(WRITTEN) or held.written):
            held = await self._make(view, mapped, name, looks, held)
        if waits:
            return None
        if is_new := view.id in self._written:
            mapped.declare(self.context, view)
        return Receipt(items=1, skipped=not is_new, note={"id": held.id, WRITTEN: looks})

    def _has_to_change(self, view: View, held: _Held, looks: str, written: str | None) -> bool:
        """Whether a view is to be written over; not if only somebody at the destination changed it.

        Raises:
            Conflict: it is, and somebody at the destination changed it too.
        """
        if looks in (held.looks, written):
            return False
        if written is None:
            detail = f"what the view {held.id} was is written over; nothing tells who made it"
            self.context.lose("report_overwritten", str(view), detail)
        elif written != held.looks:
            raise Conflict(
                "it was changed at the destination since it was brought, and at the source, too",
                side=Side.DESTINATION,
                subject=str(view),
                remedy="it is left as it is; keep a copy of it there, delete it, and run the same command "
                "again to get that of the source",
            )
        return True

    async def _shelf(self, view: View) -> _Shelf:
        """The views of this kind at the destination."""
        place = self.references.places[view.namespace], view.kind
        if place not in self._shelves:
            shelf = self._shelves[place] = _Shelf()
            async with aclosing(list_views(self.client, *place)) as views:
                async for there in views:
                    spec, written = _unmarked(there.spec)
                    looks = _looks(there.name, there.title, there.description, spec)
                    held = shelf.by_id[there.id] = _Held(there.id, looks, written)
                    if (origin := origin_of(there.spec, self.references.source_url)) is not None:
                        shelf.by_origin.setdefault(origin, held)
                    else:
                        shelf.by_name.setdefault(there.name, held)
        return self._shelves[place]

    def _name(self, view: View) -> str:
        """Its own, or another one if a view of another project has it."""
        place = self.references.places[view.namespace]
        owner = self._owners.setdefault((place, view.kind, view.name), view.id)
        return view.name if owner == view.id else f"{view.name}-{short_hash(view.id, 6)}"

    async def _make(self, view: View, mapped: MappedView, name: str, looks: str, held: _Held | None) -> _Held:
        if mapped.files:
            await self.files.bring(view, mapped.files)
        place = self.references.places[view.namespace]
        marked = {**mapped.spec, PROVENANCE: {**mapped.spec[PROVENANCE], WRITTEN: looks}}
        variables: dict[str, Json] = {
            "id": held.id if held is not None else None,
            "entity": place.entity,
            "project": place.project,
            "type": view.kind,
            "name": name,
            "displayName": mapped.title,
            # An update leaves as it is what is null.
            "description": mapped.description or "",
            "spec": encode_json(marked),
            "parentId": self.references.views.get(view.parent_id) if view.parent_id else None,
        }

        async def find() -> Json | None:
            self._shelves.pop((place, view.kind), None)
            made = (await self._shelf(view)).by_origin.get(view.id)
            return None if made is None else {"upsertView": {"view": {"id": made.id}}}

        if held is None:
            answer = await self.client.create(UPSERT_VIEW, variables, str(view), find)
        else:
            answer = await self.client.graphql(UPSERT_VIEW, variables, str(view))
        written = _Held(str(answer["upsertView"]["view"]["id"]), looks, looks)
        shelf = await self._shelf(view)
        shelf.by_id[written.id] = shelf.by_origin[view.id] = written
        self.references.views[view.id] = written.id
        self._written.add(view.id)
        return written


def _looks(name: str, title: str | None, description: str | None, spec: Mapping[str, Json]) -> str:
    return fingerprint(name, title or None, description or None, spec)


def _unmarked(spec: Mapping[str, Json]) -> tuple[Mapping[str, Json], str | None]:
    """A spec without the digest of what was written, and that."""
    came = spec.get(PROVENANCE)
    if not isinstance(came, dict) or WRITTEN not in came:
        return spec, None
    return {**spec, PROVENANCE: {name: value for name, value in came.items() if name != WRITTEN}}, came[
        WRITTEN
    ]
