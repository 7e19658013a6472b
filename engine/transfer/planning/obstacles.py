"""Collections of artifact versions that could not be brought as they are, or what would be deleted for them.

Both sides are asked for what is said of each collection, not for what is in it. Projects that are not at the
destination yet have nothing in the way.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from engine.errors import EngineError, Problem
from engine.fanout import for_each
from engine.protocols import CollectionForeteller, CollectionSource, Destination, Source
from engine.records import Collection, Project
from engine.transfer.planning.measuring import Failures
from engine.transfer.planning.preflight import Sides

TOGETHER = 8
"""Collections that are looked at at the same time."""


async def obstacles(
    source: Source, destination: Destination, sides: Sides, failures: Failures
) -> tuple[Problem, ...]:
    """All of them, by the names of the collections; what cannot be looked at is added to ``failures``."""
    survey = sides.survey
    if (
        survey is None
        or not isinstance(source, CollectionSource)
        or not isinstance(destination, CollectionForeteller)
    ):
        return ()
    found: list[tuple[str, Problem]] = []

    async def listed() -> AsyncGenerator[Collection]:
        for project in _standing(sides):
            try:
                async with aclosing(source.collections(project)) as collections:
                    async for collection in collections:
                        yield collection
            except EngineError as error:
                failures.add(error, f"collections of {project.namespace}")

    async def look(collection: Collection) -> None:
        try:
            collection, versions = await source.collection(collection)
            target = survey.targets[collection.namespace]
            problem = await destination.foretell_collection(collection, versions, target)
        except EngineError as error:
            failures.add(error, f"artifact {collection.name} of {collection.namespace}")
        else:
            if problem is not None:
                found.append((str(collection), problem))

    async with aclosing(listed()) as collections:
        await for_each(collections, look, limit=TOGETHER)
    return tuple(problem for _, problem in sorted(found, key=lambda pair: pair[0]))


def _standing(sides: Sides) -> list[Project]:
    """The projects whose places are there already."""
    assert sides.survey is not None
    survey = sides.survey
    return [project for project in sides.projects if survey.targets[project.namespace] not in survey.missing]
