"""Where records speak of projects that an archive keeps under other names.

Nothing is changed where every project keeps its name. W&B's references between versions, and the pointers in
its reports, tell projects by name, so that whoever restores them finds them by the names in the archive.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

from engine.records import (
    ArtifactEntry,
    Collection,
    Namespace,
    Portfolio,
    RunRef,
    SystemInfo,
    Version,
    VersionRef,
)
from engine.reports import View
from engine.wandb.artifact_uris import Reference
from engine.wandb.views.references import References


@dataclass(frozen=True, slots=True)
class Addresses:
    """
    Attributes:
        places: where each project of the source is in the archive; what is not moved keeps its name.
        source: where the records come from.
    """

    places: Mapping[Namespace, Namespace]
    source: SystemInfo | None

    def of(self, namespace: Namespace) -> Namespace:
        return self.places.get(namespace, namespace)

    def collection(self, collection: Collection) -> Collection:
        return replace(
            collection,
            namespace=self.of(collection.namespace),
            spoken_in=tuple(map(self.of, collection.spoken_in)),
        )

    def version(self, version: Version) -> Version:
        return replace(
            version,
            artifact=replace(version.artifact, namespace=self.of(version.artifact.namespace)),
            made_by=None if version.made_by is None else self._run(version.made_by),
            used_by=tuple(map(self._run, version.used_by)),
            used_as=tuple(replace(use, run=self._run(use.run)) for use in version.used_as),
            spoken_in=tuple(map(self.of, version.spoken_in)),
            portfolios=tuple(map(self.collection, version.portfolios)),
        )

    def _run(self, run: RunRef) -> RunRef:
        return RunRef(self.of(run.namespace), run.id)

    async def entries(self, entries: AsyncIterator[ArtifactEntry]) -> AsyncIterator[ArtifactEntry]:
        """The same; those that refer to a file of another version with the name that its project has here."""
        async for entry in entries:
            yield entry if entry.ref is None else replace(entry, ref=self._uri(entry.ref))

    def _uri(self, uri: str) -> str:
        reference = Reference.of(uri)
        if reference is None or self.of(reference.namespace) == reference.namespace:
            return uri
        return str(replace(reference, namespace=self.of(reference.namespace)))

    def portfolio(self, portfolio: Portfolio) -> Portfolio:
        return Portfolio(
            collection=self.collection(portfolio.collection),
            links=tuple(replace(link, target=self._target(link.target)) for link in portfolio.links),
            registry=portfolio.registry
            and replace(portfolio.registry, namespace=self.of(portfolio.registry.namespace)),
        )

    def _target(self, version: VersionRef) -> VersionRef:
        return replace(version, namespace=self.of(version.namespace))

    def view(self, view: View) -> View:
        """A view that points at projects by the names that they have here; all else it says stays."""
        if all(own == place for own, place in self.places.items()):
            return view
        server = self.source.first_server if self.source is not None else None
        url = (server or "").removeprefix("wandb:")
        references = References(places=self.places, source_url=url, url=url, run_id=lambda _, run: run)
        moved = references.of({"spec": view.spec, "files": [*view.files]}, view.namespace).spec
        return replace(
            view,
            namespace=self.of(view.namespace),
            spec=moved["spec"],
            artifacts={named: self._uri(uri) for named, uri in view.artifacts.items()},
            files=dict(zip(moved["files"], view.files.values(), strict=True)),
        )
