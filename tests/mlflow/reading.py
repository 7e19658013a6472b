"""Opening a source and looking at what it gives."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from engine.mlflow.source import MlflowSource
from engine.protocols import SystemOptions, Unreadable
from engine.records import MetricPoints, Run, Selection
from engine.transfer.context import Context

ALL = Selection(include_deleted=True)


@asynccontextmanager
async def opened(uri: str, **options: Any) -> AsyncGenerator[MlflowSource]:
    """A source that is open; ``source.losses`` are what it declared."""
    source = MlflowSource(uri, SystemOptions(**options))
    context = Context(spool=Path("unused"))
    async with source.open(context):
        yield source


async def everything(source: MlflowSource, selection: Selection = ALL) -> list[Run | Unreadable]:
    return [
        run async for project in source.projects(selection) async for run in source.runs(project, selection)
    ]


async def runs_of(source: MlflowSource, selection: Selection = ALL) -> list[Run]:
    """All runs, of which none may be unreadable."""
    found = await everything(source, selection)
    assert not [run.error for run in found if isinstance(run, Unreadable)]
    return [run for run in found if isinstance(run, Run)]


async def labelled(source: MlflowSource, selection: Selection = ALL) -> dict[str, Run]:
    """Runs by the tag that ``tests.stores`` gives them."""
    return {run.labels["label"]: run for run in await runs_of(source, selection) if "label" in run.labels}


async def points_of(source: MlflowSource, run: Run) -> list[tuple[str, int, int, float]]:
    """The points of a run as (key, step, timestamp, value), sorted as far as NaN allows."""
    found = []
    async for chunk in source.history(run):
        assert isinstance(chunk, MetricPoints)
        found += list(zip(*(column.to_pylist() for column in chunk.batch.columns), strict=True))
    return sorted(found, key=lambda point: (point[:3], repr(point[3])))


def losses_of(source: MlflowSource) -> dict[str, int]:
    return dict(source._context.losses.counts)
