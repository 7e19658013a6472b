"""Who made and who used a version, found again at the destination."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from engine.errors import NotFound
from engine.fanout import for_each
from engine.records import RunRef, Version
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
        there: list[RunRef] = []
        for run in wanted.used_by:
            known = self._known[run]
            if known is None:
                self._drop(wanted, run)
            elif known not in found.used_by:
                there.append(known)
        await for_each(there, lambda run: self._use(wanted, found, run), limit=LOOKUPS)

    async def _use(self, wanted: Version, found: Version, run: RunRef) -> None:
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
