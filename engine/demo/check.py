"""Checks a migrated demo: every point and every file, read back from the server and compared.

It reads the source straight from its SQLite file and the destination through plain GraphQL, so that
it shares no code with the readers and writers whose work it checks.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from engine.records import Json

Point = tuple[str, str, int, str]
"""run id, key, step, value as text, so that NaN equals NaN"""

INTERNAL = {"_step", "_timestamp", "_runtime"}
STEP_COLUMN = "mlflow/step"
"""Holds the original step where rows had to be numbered anew."""

RUNS = """
query Runs($entity: String!, $project: String!, $cursor: String) {
  project(name: $project, entityName: $entity) {
    runs(first: 50, after: $cursor, order: "+created_at") {
      pageInfo { endCursor hasNextPage }
      edges { node {
        name
        historyLineCount
        history(samples: 100000)
        outputArtifacts(first: 10) { edges { node { currentManifest { file { directUrl } } } } }
      } }
    }
  }
}
"""

PROJECTS = """
query Projects($entity: String!) {
  models(entityName: $entity, first: 100) { edges { node { name } } }
}
"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found on both sides, and what only on one."""

    runs: int
    points: int
    files: int
    differences: tuple[str, ...]


async def compare(store: Path, url: str, api_key: str, entity: str) -> Comparison:
    """Compare the demo's store in the directory ``store`` with what ``entity`` holds on the server."""
    source_runs, source_points, source_files = _read_store(store)
    runs, points, files = set[str](), Counter[Point](), set[tuple[str, str, str]]()
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        async for node in _runs(session, f"{url}/graphql", _basic(api_key), entity):
            run = str(node["name"])
            runs.add(run)
            for line in node["history"]:
                points.update(_points_of(run, json.loads(line)))
            for edge in node["outputArtifacts"]["edges"]:
                manifest_url = edge["node"]["currentManifest"]["file"]["directUrl"]
                async with session.get(manifest_url) as answer:
                    manifest = await answer.json(content_type=None)
                files.update((run, path, entry["digest"]) for path, entry in manifest["contents"].items())
    differences = [
        *(f"run {run} is missing" for run in sorted(source_runs - runs)),
        *(f"run {run} has no source" for run in sorted(runs - source_runs)),
        *(f"point {point} is missing" for point in source_points - points),
        *(f"point {point} has no source" for point in points - source_points),
        *(f"file {path} of run {run} is missing or differs" for run, path, _ in source_files - files),
        *(f"file {path} of run {run} has no source" for run, path, _ in files - source_files),
    ]
    return Comparison(len(runs), points.total(), len(files), tuple(differences))


def _basic(api_key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"api:{api_key}".encode()).decode()}


def _read_store(store: Path) -> tuple[set[str], Counter[Point], set[tuple[str, str, str]]]:
    with closing(sqlite3.connect(f"file:{store / 'mlflow.db'}?mode=ro", uri=True)) as database:
        runs = {run for (run,) in database.execute("SELECT run_uuid FROM runs")}
        points = Counter(
            (run, key, step, _text(math.nan if is_nan else value))
            for run, key, step, value, is_nan in database.execute(
                "SELECT run_uuid, key, step, value, is_nan FROM metrics"
            )
        )
    files = {
        (folder.name, path.relative_to(folder).as_posix(), _md5(path))
        for folder in (store / "files").iterdir()
        for path in folder.rglob("*")
        if path.is_file()
    }
    return runs, points, files


def _points_of(run: str, row: dict[str, Json]) -> list[Point]:
    step = int(row[STEP_COLUMN] if STEP_COLUMN in row else row["_step"])
    return [
        (run, key, step, _text(float(value)))
        for key, value in row.items()
        if key not in INTERNAL and key != STEP_COLUMN
    ]


def _text(value: float) -> str:
    return repr(float(value))


def _md5(path: Path) -> str:
    return base64.b64encode(hashlib.md5(path.read_bytes(), usedforsecurity=False).digest()).decode()


async def _runs(
    session: aiohttp.ClientSession, graphql: str, headers: dict[str, str], entity: str
) -> AsyncIterator[dict[str, Json]]:
    async def ask(query: str, **variables: Json) -> dict[str, Json]:
        payload = {"query": query, "variables": variables}
        async with session.post(graphql, json=payload, headers=headers) as answer:
            data: dict[str, Json] = (await answer.json())["data"]
            return data

    for project in (await ask(PROJECTS, entity=entity))["models"]["edges"]:
        cursor = None
        while True:
            page = await ask(RUNS, entity=entity, project=project["node"]["name"], cursor=cursor)
            connection = page["project"]["runs"]
            for edge in connection["edges"]:
                yield edge["node"]
            if not connection["pageInfo"]["hasNextPage"]:
                break
            cursor = connection["pageInfo"]["endCursor"]
