"""How an archive is verified: it holds exactly what its source says."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from engine.archive.places import places_of
from engine.archive.source import ArchiveSource
from engine.errors import Side
from engine.records import Namespace, Project, SystemInfo
from engine.transfer.context import Context
from engine.verify.audit import AsIs


class ArchiveAudit(AsIs):
    """An archive read back.

    Args:
        rest: the path after ``archive:``.
    """

    def __init__(self, rest: str) -> None:
        super().__init__(ArchiveSource(rest, side=Side.DESTINATION))
        self._remap: Mapping[str, str] = {}

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        self._remap = context.remap
        async with super().open(context) as info:
            yield info

    async def places(self, projects: Sequence[Project]) -> Mapping[Namespace, Namespace]:
        return places_of(projects, self._remap)
