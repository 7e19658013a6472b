"""One upload of a directory, by one client; prints what it took as JSON.

    python -m benchmarks.bytes_clients raw|raw-md5|engine DIRECTORY URL

``raw`` is what aiohttp itself can do, written as fast as measurements say: small objects as bytes, large
ones as a generator that reads in the event loop. ``raw-md5`` hashes every file in a thread first, as anybody
must who has to send ``Content-MD5``. ``engine`` is a W&B artifact with these files.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import uvloop
from yarl import URL

from engine.protocols import SystemOptions
from engine.records import Artifact, ArtifactEntry, Blob, Namespace, Project, Run, SystemInfo
from engine.transfer.context import Context
from engine.wandb import WandbDestination

IN_FLIGHT = 32
INLINE = 64 * 1024
PIECE = 256 * 1024

Started = Callable[[], None]


async def _raw(files: list[Path], url: str, started: Started, *, md5: bool) -> None:
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=0)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        skip_auto_headers=("Content-Type",),
    ) as session:
        rest = iter(files)

        async def worker() -> None:
            for path in rest:
                await _put(session, URL(f"{url}/file/{path.name}", encoded=True), path, md5=md5)

        started()
        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


async def _put(session: aiohttp.ClientSession, url: URL, path: Path, *, md5: bool) -> None:
    size = path.stat().st_size
    headers = {"Content-Length": str(size)}
    body: bytes | AsyncGenerator[bytes]
    if size <= INLINE:
        body = path.read_bytes()
        digest = hashlib.md5(body).digest() if md5 else b""
    else:
        digest = await asyncio.to_thread(_md5, path) if md5 else b""
        body = _pieces(path)
    if md5:
        headers["Content-MD5"] = base64.b64encode(digest).decode()
    async with session.put(url, data=body, headers=headers) as answer:
        await answer.read()
        assert answer.status in (201, 204), answer.status


def _md5(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").digest()


async def _pieces(path: Path) -> AsyncGenerator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            yield piece


async def _engine(files: list[Path], url: str, started: Started) -> None:
    async def entries() -> AsyncGenerator[ArtifactEntry]:
        for path in files:
            yield ArtifactEntry(path=path.name, size=path.stat().st_size, local_path=path)

    with tempfile.TemporaryDirectory() as spool:
        context = Context(spool=Path(spool), source=SystemInfo(uri="mlflow:x", product="MLflow"))
        destination = WandbDestination(
            f"{url}/{os.environ.get('ENTITY', 'bench')}",
            SystemOptions(api_key=os.environ.get("WANDB_API_KEY", "x" * 40)),
        )
        async with destination.open(context):
            source = Namespace("", "bytes")
            target = (await destination.prepare([Project(namespace=source, id="1")]))[source]
            started()
            writer = await destination.open_run(Run(id=f"run{os.getpid()}", namespace=source), target)
            artifact = Artifact(namespace=source, name=f"files-{os.getpid()}", type="bytes")
            await writer.write_artifact(artifact, entries(), _unread)
            await writer.finish()
        assert context.counters.files == len(files)


async def _unread(blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
    for _ in range(offset):
        yield b""
    raise AssertionError(f"{blob.path} is a local file, to be read in place")


CLIENTS: dict[str, Callable[[list[Path], str, Started], Awaitable[None]]] = {
    "raw": lambda files, url, started: _raw(files, url, started, md5=False),
    "raw-md5": lambda files, url, started: _raw(files, url, started, md5=True),
    "engine": _engine,
}


def _files(directory: Path) -> Iterator[Path]:
    with os.scandir(directory) as found:
        yield from (Path(entry.path) for entry in found)


async def _measured(client: str, directory: Path, url: str) -> None:
    files = sorted(_files(directory))
    began: list[tuple[float, float]] = []
    await CLIENTS[client](files, url, lambda: began.append((time.monotonic(), time.process_time())))
    ((wall, cpu),) = began
    print(json.dumps({"wall_s": time.monotonic() - wall, "cpu_s": time.process_time() - cpu}))


if __name__ == "__main__":
    uvloop.run(_measured(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
