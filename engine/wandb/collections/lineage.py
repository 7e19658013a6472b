"""Who made and who used a version, found again at the destination."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from engine.errors import NotFound
from engine.fanout import for_each
from engine.records import RunRef, Use, Version
from engine.wandb import documents
from engine.wandb.collections.place import Place
from engine.wandb.reading.artifacts import id_of

FindRun: TypeAlias = Callable[[RunRef], Awaitable[RunRef | None]]
"""What a run of the source is at the destination, None if it is not there."""

LOOKUPS = 100
"""Runs that are asked for at the same time, so that one request answers for many."""


@dataclass(slots=True)
class Lineage:
    """The runs that have to do with one collection."""

    place: Place
    find: FindRun
    _known: dict[RunRef, RunRef | None] = field(default_factory=dict)

    async def prepare(self, runs: Iterable[RunRef]) -> None:
        """Find these at once."""

        async def one(run: RunRef) -> None:
            self._known[run] = await self.find(run)

        await for_each({run for run in runs if run not in self._known}, one, limit=LOOKUPS)

    async def maker(self, version: Version) -> str | None:
        """The id of the run that can be told to have made it, None if there is none."""
        if version.made_by is None:
            return None
        await self.prepare([version.made_by])
        found = self._known[version.made_by]
        # A version belongs to the project of its run.
        return found.id if found is not None and found.namespace == self.place.namespace else None

    async def record_uses(self, wanted: Version, found: Version) -> None:
        """Tell the server of the runs that used a version, as far as it does not know of them."""
        await self.prepare(wanted.used_by)
        missing: list[tuple[RunRef, str | None]] = []
        for run in wanted.used_by:
            if (known := self._known[run]) is None:
                self._drop(wanted, run)
                continue
            names = [use.name for use in wanted.used_as if use.run == run]
            missing += [(known, name) for name in names if Use(known, name) not in found.used_as]
            if not names and known not in found.used_by:
                missing.append((known, None))
        await for_each(missing, lambda use: self._use(wanted, found, *use), limit=LOOKUPS)

    async def _use(self, wanted: Version, found: Version, run: RunRef, name: str | None) -> None:
        home = self.place.namespace
        try:
            await self.place.client.graphql(
                documents.USE_ARTIFACT,
                {
                    "input": {
                        "artifactID": id_of(found.artifact),
                        "artifactEntityName": home.entity,
                        "artifactProjectName": home.project,
                        **self.place.qualified(run),
                        **({} if name is None else {"usedAs": name}),
                    }
                },
                self.place.subject,
            )
        except NotFound:  # it was deleted since it was found
            self._drop(wanted, run)

    def _drop(self, version: Version, run: RunRef) -> None:
        self.place.context.lose(
            "use_dropped",
            f"{self.place.subject}:v{version.number}",
            f"used by run {run.id} of {run.namespace}, which is not at the destination",
        )


def runs_of(versions: Sequence[Version]) -> set[RunRef]:
    """All runs that made or used some of these versions."""
    makers = {version.made_by for version in versions if version.made_by is not None}
    return makers.union(*(version.used_by for version in versions))
