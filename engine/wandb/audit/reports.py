"""What W&B holds of sweeps and views that it was given: the part of the audit on them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace

from engine.errors import NotFound
from engine.records import Json, Namespace, Project, Run
from engine.reports import Sweep, View
from engine.transfer.context import Context
from engine.verify.values import ANYTHING, Facts
from engine.wandb.jsontext import clean_text
from engine.wandb.mapping import PROVENANCE
from engine.wandb.runs.ids import RunIds
from engine.wandb.runs.sweeps import declare, described_by, origin_in, origin_of, state_of
from engine.wandb.source import WandbSource
from engine.wandb.views.mapping import ViewMapping
from engine.wandb.views.mapping import origin_of as origin_of_view
from engine.wandb.views.references import References


class ReportAudit:
    """See ``engine.verify.audit.ReportAudit``."""

    _context: Context
    _source: WandbSource
    _targets: Mapping[Namespace, Namespace]
    _ids: RunIds
    _held_sweeps: dict[Namespace, dict[str, Sweep]]
    _sweep_names: dict[tuple[Namespace, str], str]
    _held_views: dict[Namespace, dict[str, View]]
    _references: References | None

    # -- sweeps ----------------------------------------------------------------------------------

    async def sweep(self, sweep: Sweep, namespace: Namespace) -> Sweep | None:
        found = (await self._sweeps(namespace)).get(origin_of(sweep.namespace, sweep.id))
        if found is not None:
            self._sweep_names[sweep.namespace, sweep.id] = found.id
        return found

    async def _sweeps(self, namespace: Namespace) -> Mapping[str, Sweep]:
        """Those of a project by where they came from."""
        if namespace in self._held_sweeps:
            return self._held_sweeps[namespace]
        found: dict[str, Sweep] = {}
        project = Project(namespace=namespace, id=namespace.path)
        async with aclosing(self._source.sweeps(project)) as sweeps:
            try:
                async for sweep in sweeps:
                    if (origin := origin_in(sweep.description)) is not None:
                        found.setdefault(origin, sweep)
            except NotFound:
                found = {}  # no project, no sweeps
        self._held_sweeps[namespace] = found
        return found

    def _sweep_of(self, run: Run, namespace: Namespace) -> str | None:
        """The name of the sweep of a run there, once its project was looked at."""
        if run.sweep is None:
            return None
        held = self._held_sweeps.get(namespace, {}).get(origin_of(run.namespace, run.sweep))
        return None if held is None else held.id

    def expected_sweep(self, sweep: Sweep) -> Facts:
        declare(sweep, self._context)
        return {
            ("config",): clean_text(sweep.config),
            # Without one of its own, a server may show a sweep by what its config says.
            ("name",): clean_text(sweep.name) if sweep.name else ANYTHING,
            ("description",): clean_text(sweep.description or "").strip() or None,
            ("state",): state_of(sweep),
        }

    def found_sweep(self, sweep: Sweep) -> Facts:
        return {
            ("config",): sweep.config,
            ("name",): sweep.name,
            ("description",): described_by(sweep.description),
            ("state",): sweep.state,
        }

    # -- views -----------------------------------------------------------------------------------

    async def view(self, view: View, namespace: Namespace) -> View | None:
        references = await self._known_views()
        held = await self._views_of(namespace)
        found = held.get(references.views.get(view.id, ""))
        if found is None or found.kind != view.kind:
            same = (one for one in held.values() if (one.kind, one.name) == (view.kind, view.name))
            found = next(same, None)
        if found is not None:
            references.views[view.id] = found.id
        return found

    async def _known_views(self) -> References:
        """Which views came from which: they point at each other, wherever they are."""
        if self._references is None:
            source = self._context.source
            server = source.first_server if source is not None else None
            targets = self._targets
            self._references = References(
                places=targets,
                source_url=(server or "").removeprefix("wandb:"),
                url=self._source.client.base_url,
                run_id=lambda place, run: self._ids.of(Run(id=run, namespace=place), targets[place]),
                sweeps=self._sweep_names,
            )
            for namespace in sorted({*targets.values()}):
                for found in (await self._views_of(namespace)).values():
                    origin = origin_of_view(found.spec, self._references.source_url)
                    if origin is not None:
                        self._references.views.setdefault(origin, found.id)
        return self._references

    async def _views_of(self, namespace: Namespace) -> Mapping[str, View]:
        """By their ids; as specs are large, those of one project at a time."""
        if namespace not in self._held_views:
            project = Project(namespace=namespace, id=namespace.path)
            found: dict[str, View] = {}
            async with aclosing(self._source.views(project)) as views:
                try:
                    async for view in views:
                        found[view.id] = view
                except NotFound:
                    found = {}  # no project, no views
            self._held_views = {namespace: found}
        return self._held_views[namespace]

    async def expected_view(self, view: View) -> View:
        mapped = await ViewMapping(self._source.client, await self._known_views()).of(view)
        mapped.declare(self._context, view)
        return replace(
            view, title=mapped.title, description=mapped.description, spec=_without_provenance(mapped.spec)
        )

    def found_view(self, view: View) -> View:
        return replace(view, spec=_without_provenance(view.spec))


def _without_provenance(spec: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in spec.items() if key != PROVENANCE}
