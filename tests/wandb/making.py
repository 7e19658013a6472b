"""Runs, histories and bytes to write."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from engine.records import (
    ArtifactEntry,
    Blob,
    HistoryChunk,
    HistoryRows,
    Namespace,
    Run,
)
from engine.wandb import WandbDestination
from tests.memory import Point, points

START = 1_700_000_000_000


def a_run(**changes: Any) -> Run:
    fields: dict[str, Any] = {
        "id": "0123456789abcdef0123456789abcdef",
        "namespace": Namespace("", "experiment"),
        "started_at": START,
        "ended_at": START + 90_500,
    }
    return Run(**{**fields, **changes})


async def chunks(history: list[Point], size: int = 1_000) -> AsyncIterator[HistoryChunk]:
    for start in range(0, len(history), size):
        yield points(history[start : start + size])


async def wide(rows: list[dict[str, Any]]) -> AsyncIterator[HistoryChunk]:
    yield HistoryRows(first=0, rows=rows)


async def write(
    destination: WandbDestination, namespace: Namespace, run: Run, history: list[Point] | None = None
) -> None:
    writer = await destination.open_run(run, namespace)
    await writer.write_history(chunks(history or []))
    await writer.finish()


def contents(blobs: Mapping[str, bytes]) -> Any:
    async def read(blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        for start in range(offset, len(blobs[blob.path]), 1024 * 1024):
            yield blobs[blob.path][start : start + 1024 * 1024]

    return read


async def entries(blobs: Mapping[str, bytes], **more: Any) -> AsyncIterator[ArtifactEntry]:
    for path, content in blobs.items():
        yield ArtifactEntry(path=path, size=len(content), **more)


BLOBS = {
    "a.txt": b"hello",
    "empty": b"",
    "deep/ünïcode name.bin": bytes(range(256)) * 5_000,
    "Deep/UPPER": b"1",
}
