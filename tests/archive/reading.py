"""Everything a source says, in a form that can be compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.protocols import LogSource, Source
from engine.records import MetricPoints, Run, Selection
from engine.transfer.context import Context
from tests.conformance import read_blob

EVERYTHING = Selection(include_deleted=True)


def exact(value: Any) -> Any:
    """Equal if and only if the values are of equal types all the way down; NaN equals NaN."""
    if isinstance(value, dict):
        return {key: exact(each) for key, each in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [exact(each) for each in value]
    return type(value).__name__, repr(value)


async def told_of(source: Source, context: Context, *, artifacts: bool = True) -> dict[str, Any]:
    """By run, all there is of it; by ``project …``, the projects."""
    found: dict[str, Any] = {}
    async with source.open(context):
        async for project in source.projects(EVERYTHING):
            found[f"project {project.namespace}"] = project
            async for run in source.runs(project, EVERYTHING):
                if isinstance(run, Run):
                    found[f"{project.namespace} {run.id}"] = await _told(source, run, artifacts=artifacts)
    return found


async def _told(source: Source, run: Run, *, artifacts: bool) -> dict[str, Any]:
    points: list[Any] = []
    rows: list[Any] = []
    async for chunk in source.history(run):
        if isinstance(chunk, MetricPoints):
            points.extend(zip(*(column.to_pylist() for column in chunk.batch.columns), strict=True))
        else:
            rows.extend(exact(dict(row)) for row in chunk.rows)
    metrics: list[Any] = []
    console: list[Any] = []
    if isinstance(source, LogSource):
        metrics = [exact(dict(row)) async for chunk in source.system_metrics(run) for row in chunk.rows]
        console = [line async for part in source.console(run) for line in part.lines]
    bare = replace(run, locator=None, fingerprint=None)
    return {
        "run": bare,
        "config": exact(dict(run.config)),
        "summary": exact(dict(run.summary)) if run.summary is not None else None,
        "extra": exact(dict(run.extra)),
        "points": exact(points),
        "rows": rows,
        "metrics": metrics,
        "console": console,
        "files": [
            (replace(file, locator="", local_path=None), await read_blob(source, file))
            async for file in source.files(run)
        ],
        "artifacts": [
            (
                replace(artifact, locator=""),
                [
                    (
                        replace(entry, locator="", local_path=None),
                        b"" if entry.ref is not None else await read_blob(source, entry),
                    )
                    async for entry in source.entries(artifact)
                ],
            )
            for artifact in sorted(
                [found async for found in source.artifacts(run)],
                key=lambda found: (found.type, found.name, found.version or 0),
            )
        ]
        if artifacts
        else [],
    }
