"""Reports, drafts and saved views at the destination.

A view is found again by where it came from, which is in its spec under ``_import`` along with who made it and
when, as nobody can set that; or by its name, as W&B's importer brought it, which wandb-workspaces changes
whenever a report is saved. It is only written if it is not what it should be.

Source: ``reports/v2/gql.py`` of wandb-workspaces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from engine.fingerprints import fingerprint
from engine.records import Json, Namespace, Receipt
from engine.reports import View
from engine.transfer.context import Context
from engine.wandb.client import WandbClient
from engine.wandb.jsontext import Plain, clean_text, encode_json
from engine.wandb.mapping import PROVENANCE, iso_time
from engine.wandb.names import short_hash
from engine.wandb.reading.reports import REPORT, list_views
from engine.wandb.references import References, Rewritten

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

PROJECT_ID: Final = """
query ProjectInternalId($entity: String!, $project: String!) {
  project(name: $project, entityName: $entity) { internalId }
}
"""


@dataclass(slots=True)
class _Held:
    """A view at the destination, and what it looks like."""

    id: str
    looks: str


@dataclass(slots=True)
class _Shelf:
    """The views of one kind in a project."""

    by_origin: dict[str, _Held] = field(default_factory=dict)
    by_name: dict[str, _Held] = field(default_factory=dict)

    def find(self, origin: str, name: str) -> _Held | None:
        return self.by_origin.get(origin) or self.by_name.get(name)


@dataclass(slots=True)
class WandbViewWriter:
    """A ``ViewWriter``."""

    client: WandbClient
    context: Context
    references: References
    _shelves: dict[tuple[Namespace, str], _Shelf] = field(default_factory=dict)
    _owners: dict[tuple[Namespace, str, str], str] = field(default_factory=dict)
    _linking: list[View] = field(default_factory=list)
    _written: set[str] = field(default_factory=set)

    async def write(self, view: View) -> Receipt:
        held = (await self._shelf(view)).find(self._origin(view.id), self._name(view))
        rewritten = await self._rewritten(view)
        if rewritten.links:
            self._linking.append(view)
        if held is not None:
            self.references.views[view.id] = held.id
        if held is not None and rewritten.links:
            return Receipt(items=1, skipped=True)
        receipt = await self._make(view, rewritten)
        if not rewritten.links:
            self._tell(view, rewritten.unresolved)
        return receipt

    async def link(self) -> Receipt:
        changed = 0
        for view in self._linking:
            rewritten = await self._rewritten(view)
            changed += not (await self._make(view, rewritten)).skipped
            self._tell(view, rewritten.unresolved + rewritten.links)
        return Receipt(items=changed)

    async def _shelf(self, view: View) -> _Shelf:
        """The views of this kind at the destination."""
        place = self.references.places[view.namespace], view.kind
        if place not in self._shelves:
            shelf = self._shelves[place] = _Shelf()
            async with aclosing(list_views(self.client, *place)) as views:
                async for there in views:
                    held = _Held(there.id, _looks(there.name, there.title, there.description, there.spec))
                    came = there.spec.get(PROVENANCE)
                    if isinstance(came, dict) and came.get("source") == self.references.source_url:
                        shelf.by_origin.setdefault(self._origin(came.get("id")), held)
                    else:
                        shelf.by_name.setdefault(there.name, held)
        return self._shelves[place]

    def _origin(self, view_id: Json) -> str:
        return f"{self.references.source_url} {view_id}"

    def _name(self, view: View) -> str:
        """Its own, or another one if a view of another project has it."""
        place = self.references.places[view.namespace]
        owner = self._owners.setdefault((place, view.kind, view.name), view.id)
        return view.name if owner == view.id else f"{view.name}-{short_hash(view.id, 6)}"

    async def _rewritten(self, view: View) -> Rewritten:
        rewritten = self.references.of(view.spec, view.namespace)
        if rewritten.wanted:
            for place in rewritten.wanted:
                where = {"entity": place.entity, "project": place.project}
                found = await self.client.graphql(PROJECT_ID, where, f"project {place}")
                self.references.projects[place] = (found.get("project") or {}).get("internalId") or ""
            rewritten = self.references.of(view.spec, view.namespace)
        return rewritten

    async def _make(self, view: View, rewritten: Rewritten) -> Receipt:
        place, name = self.references.places[view.namespace], self._name(view)
        shelf, origin = await self._shelf(view), self._origin(view.id)
        plain = Plain()
        spec = plain.of(rewritten.spec | self._provenance(view))
        title = clean_text(view.title) if view.title else None
        description = clean_text(view.description) if view.description else None
        looks, held = _looks(name, title, description, spec), shelf.find(origin, name)
        if held is not None and held.looks == looks:
            return Receipt(items=1, skipped=True)
        parent = self.references.views.get(view.parent_id) if view.parent_id else None
        variables: dict[str, Json] = {
            "id": held.id if held is not None else None,
            "entity": place.entity,
            "project": place.project,
            "type": view.kind,
            "name": name,
            "displayName": title,
            # An update leaves as it is what is null.
            "description": description or "",
            "spec": encode_json(spec),
            "parentId": parent,
        }
        made = (await self.client.graphql(UPSERT_VIEW, variables, str(view)))["upsertView"]
        shelf.by_origin[origin] = _Held(made["view"]["id"], looks)
        self.references.views[view.id] = made["view"]["id"]
        self._written.add(view.id)
        return Receipt(items=1)

    def _provenance(self, view: View) -> dict[str, Json]:
        told = {
            "source": self.references.source_url,
            "project": str(view.namespace),
            "id": view.id,
            "user": view.user,
            "created_at_iso": iso_time(view.created_at),
            "updated_at_iso": iso_time(view.updated_at),
            "origin": view.spec.get(PROVENANCE),
        }
        added: dict[str, Json] = {PROVENANCE: {name: value for name, value in told.items() if value}}
        if view.kind == REPORT and view.user and not view.spec.get("authors"):
            added["authors"] = [{"name": view.user, "username": view.user}]
        return added

    def _tell(self, view: View, unresolved: Counter[str]) -> None:
        """Declare what a view points at in vain, if it was written: the last time it was told already."""
        for what, count in unresolved.items() if view.id in self._written else ():
            self.context.lose(
                "report_reference_unresolved",
                str(view),
                f"{what} was not moved with it, so that it points there still",
                count,
            )


def _looks(name: str, title: str | None, description: str | None, spec: Mapping[str, Json]) -> str:
    return fingerprint(name, title or None, description or None, spec)
