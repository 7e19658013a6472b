# ruff: noqa: ARG002 - a source is given more than this one needs
"""A W&B project of any size, made up: the source that fills the first server of ``wandb_to_wandb.py``."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from engine import Engine, Options, open_destination
from engine.protocols import SystemOptions
from engine.records import (
    Artifact,
    ArtifactEntry,
    Blob,
    Collection,
    HistoryChunk,
    HistoryRows,
    Namespace,
    Project,
    Run,
    RunFile,
    RunRef,
    Selection,
    SystemInfo,
    Version,
)
from engine.transfer.context import Context
from engine.transfer.options import Result
from engine.wandb.digests import artifact_digest, md5_b64

BEGAN = 1_700_000_000_000
FILES_PER_VERSION = 2
FILE_BYTES = 10_000
NAMESPACE = Namespace("world", "benchmark")


@dataclass(frozen=True)
class Size:
    """Each row has ``keys`` numbers beside what W&B's client adds; each run one file."""

    runs: int = 300
    rows: int = 2_000
    keys: int = 10
    collections: int = 50
    versions: int = 20

    @property
    def points(self) -> int:
        return self.runs * self.rows * self.keys

    @property
    def all_versions(self) -> int:
        return self.collections * self.versions


class World:
    """The source; every run made versions, and another one used them."""

    uri = "world:"

    def __init__(self, size: Size) -> None:
        self._size = size

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        yield SystemInfo(uri=self.uri, product="world")

    async def projects(self, selection: Selection) -> AsyncGenerator[Project]:
        yield Project(namespace=NAMESPACE, id="1")

    async def runs(self, project: Project, selection: Selection) -> AsyncGenerator[Run]:
        for index in range(self._size.runs):
            yield Run(
                id=_run_id(index),
                namespace=NAMESPACE,
                name=f"run {index}",
                config={"lr": 0.1 / (1 + index), "layers": [64, 32], "optimizer": {"name": "adam"}},
                tags=("baseline",),
                group=f"group {index % 10}",
                job_type="train",
                started_at=BEGAN + 1_000 * index,
                ended_at=BEGAN + 1_000 * (index + self._size.rows),
                # By which the destination takes the rows as they are.
                extra={"wandb": {}},
            )

    async def history(self, run: Run) -> AsyncGenerator[HistoryChunk]:
        numbers, began = random.Random(run.id), (run.started_at or BEGAN) / 1000
        keys = [f"metrics/key_{number}" for number in range(self._size.keys)]
        rows = [
            {"_step": step, "_timestamp": began + step, "_runtime": float(step)}
            | {key: numbers.random() for key in keys}
            for step in range(self._size.rows)
        ]
        for first in range(0, len(rows), HistoryRows.CHUNK_ROWS):
            yield HistoryRows(first=first, rows=rows[first : first + HistoryRows.CHUNK_ROWS])

    async def files(self, run: Run) -> AsyncGenerator[RunFile]:
        yield RunFile(path="notes.txt", size=FILE_BYTES, locator=run.id)

    async def artifacts(self, run: Run) -> AsyncGenerator[Artifact]:
        none: Sequence[Artifact] = ()
        for artifact in none:
            yield artifact

    async def collections(self, project: Project) -> AsyncGenerator[Collection]:
        for index in range(self._size.collections):
            yield Collection(namespace=NAMESPACE, name=f"model-{index}", type="model")

    async def collection(self, collection: Collection) -> tuple[Collection, Sequence[Version]]:
        return collection, [self._version(collection, number) for number in range(self._size.versions)]

    def _version(self, collection: Collection, number: int) -> Version:
        last = number == self._size.versions - 1
        locator = f"{collection.name}:{number}"
        maker = random.Random(locator).randrange(self._size.runs)
        return Version(
            artifact=Artifact(
                namespace=NAMESPACE,
                name=collection.name,
                type=collection.type,
                version=number,
                aliases=("latest", "best") if last else (),
                metadata={"epoch": number},
                created_at=BEGAN,
                digest=artifact_digest((path, md5_b64(data)) for path, data in _files(locator).items()),
                locator=locator,
            ),
            made_by=RunRef(NAMESPACE, _run_id(maker)),
            used_by=(RunRef(NAMESPACE, _run_id((maker + 1) % self._size.runs)),),
        )

    async def entries(self, artifact: Artifact) -> AsyncGenerator[ArtifactEntry]:
        for path, data in _files(artifact.locator).items():
            yield ArtifactEntry(
                path=path, size=len(data), md5=md5_b64(data), locator=f"{artifact.locator}\n{path}"
            )

    async def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        locator, _, path = blob.locator.partition("\n")
        data = _files(locator)[path] if path else _data(locator)
        yield data[offset:]


def _run_id(index: int) -> str:
    return f"run{index:05}"


def _files(locator: str) -> dict[str, bytes]:
    return {f"part-{number}.bin": _data(f"{locator}/{number}") for number in range(FILES_PER_VERSION)}


def _data(seed: str) -> bytes:
    return random.Random(seed).randbytes(FILE_BYTES)


async def fill(size: Size, base_url: str, api_key: str, namespace: Namespace) -> Result:
    """Bring the world to a server."""
    target = open_destination(f"wandb:{base_url}/{namespace}", SystemOptions(api_key=api_key))
    async with Engine(World(size), target, Options()) as engine:
        return await engine.run()
