"""What a view of the source has to be at the destination, and where it is told that it came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from engine.records import Json, VersionRef
from engine.reports import View
from engine.transfer.context import Context
from engine.wandb import charts
from engine.wandb.artifact_uris import CLIENT, Reference, client_ids_in, of_id
from engine.wandb.client import WandbClient
from engine.wandb.collections.version_ids import VersionIds
from engine.wandb.jsontext import Plain, clean_text, encode_json
from engine.wandb.mapping import PROVENANCE, iso_time
from engine.wandb.names import artifact_name
from engine.wandb.own_ids import own_id
from engine.wandb.reading.client_ids import all_mapped
from engine.wandb.reading.reports import REPORT
from engine.wandb.views.references import References, Rewritten

PROJECT_ID: Final = """
query ProjectInternalId($entity: String!, $project: String!) {
  project(name: $project, entityName: $entity) { internalId }
}
"""


@dataclass(frozen=True, slots=True)
class MappedView:
    """A view in the words of the destination.

    Attributes:
        unresolved: pointers to what was not moved.
        links: pointers at views that are not known, or not yet.
        charts: names of custom charts, which stay where they are.
        files: addresses of files that have to be brought along, by their paths in the run for them.
    """

    title: str | None
    description: str | None
    spec: dict[str, Json]
    unresolved: Counter[str]
    links: Counter[str]
    charts: Counter[str]
    files: Mapping[str, str]

    def declare(self, context: Context, view: View) -> None:
        """Record what the view points at in vain."""
        for what, count in (self.unresolved + self.links).items():
            detail = f"{what} was not moved with it, so that it points there still"
            context.lose("report_reference_unresolved", str(view), detail, count)
        for name, count in self.charts.items():
            context.lose(charts.LEFT, str(view), charts.why_left(name), count)


@dataclass(frozen=True, slots=True)
class ViewMapping:
    """The mapping of one transfer."""

    client: WandbClient
    references: References

    async def of(self, view: View) -> MappedView:
        await self._find_versions(view)
        rewritten = await self._rewritten(view)
        return MappedView(
            title=clean_text(view.title) if view.title else None,
            description=clean_text(view.description) if view.description else None,
            spec=Plain().of(rewritten.spec | self._provenance(view)),
            unresolved=rewritten.unresolved,
            links=rewritten.links,
            charts=rewritten.charts,
            files=rewritten.files,
        )

    async def _find_versions(self, view: View) -> None:
        """Learn how the artifact versions are named here that a view has by ids."""
        known, found = self.references.versions, VersionIds(self.client)
        for uri, named in view.artifacts.items():
            reference = Reference.of(named)
            home = None if reference is None else self.references.places.get(reference.namespace)
            if uri in known or reference is None or home is None:
                continue
            version = VersionRef(home, artifact_name(reference.name), reference.number)
            if (version_id := await found.find(version)) is not None:
                known[uri] = of_id(version_id, "").removesuffix("/")
        if (place := self.references.places.get(view.namespace)) is None:
            return
        # What is left stands for collections, of which runs here speak, too.
        own = {own_id(one, place): one for one in client_ids_in(encode_json(view.spec))}
        asked = [one for one, theirs in own.items() if f"{CLIENT}{theirs}" not in known]
        for client_id, server_id in (await all_mapped(self.client, asked)).items():
            if server_id:
                known[f"{CLIENT}{own[client_id]}"] = f"{CLIENT}{client_id}"

    async def _rewritten(self, view: View) -> Rewritten:
        rewritten = self.references.of(view.spec, view.namespace, view.files)
        if rewritten.wanted:
            for place in rewritten.wanted:
                where = {"entity": place.entity, "project": place.project}
                found = await self.client.graphql(PROJECT_ID, where, f"project {place}")
                self.references.projects[place] = (found.get("project") or {}).get("internalId") or ""
            rewritten = self.references.of(view.spec, view.namespace, view.files)
        return rewritten

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


def origin_of(spec: Mapping[str, Json], source_url: str) -> str | None:
    """The id at the source of what a view at the destination was made of, if it came from there."""
    came = spec.get(PROVENANCE)
    if isinstance(came, dict) and came.get("source") == source_url and isinstance(came.get("id"), str):
        return str(came["id"])
    return None
