"""What "everything" is if a caller names no project."""

from __future__ import annotations

import tempfile
from pathlib import Path

from engine.protocols import Source
from engine.records import Namespace, Selection
from engine.transfer.context import Counters, LossLedger
from engine.transfer.options import Options


async def all_namespaces(source: Source, options: Options) -> list[Namespace]:
    """Where the projects are that a source has.

    Raises:
        EngineError: it cannot be asked.
    """
    with tempfile.TemporaryDirectory(prefix="transfer-engine-", dir=options.spool) as spool:
        context = options.context(Path(spool), Counters(), LossLedger())
        async with source.open(context):
            return [project.namespace async for project in source.projects(Selection())]
