"""A process that uploads a directory as one artifact and tells by how many bytes its memory grew.

python -m tests.wandb.uploads.uploading URL DIRECTORY SPOOL
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio

from engine.protocols import SystemOptions
from engine.records import Artifact, ArtifactEntry, Namespace, Project
from engine.transfer.context import Context
from engine.wandb import WandbDestination
from tests.peak import peak_bytes
from tests.wandb.making import a_run, contents


async def upload(url: str, directory: Path, spool: Path) -> None:
    async def entries() -> AsyncIterator[ArtifactEntry]:
        for path in sorted(directory.iterdir()):
            yield ArtifactEntry(path=path.name, size=path.stat().st_size, local_path=path)

    context = Context(spool=spool)
    destination = WandbDestination(url, SystemOptions())
    async with destination.open(context):
        project = Project(namespace=Namespace("", "memory"), id="1")
        namespace = (await destination.prepare([project]))[project.namespace]
        writer = await destination.open_run(a_run(), namespace)
        before = peak_bytes()
        artifact = Artifact(namespace=project.namespace, name="files", type="data")
        receipt = await writer.write_artifact(artifact, entries(), contents({}))
        await writer.finish()
    assert receipt.files == len(list(directory.iterdir()))
    print(peak_bytes() - before)


if __name__ == "__main__":
    anyio.run(upload, sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
