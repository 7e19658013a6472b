"""An archive passes the checks that every source and every destination has to pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.archive import ArchiveDestination, ArchiveSource
from engine.protocols import Destination
from engine.records import Namespace, Run
from engine.transfer.engine import Engine
from tests.conformance import DestinationConformance, SourceConformance, context
from tests.memory import MemoryRun, MemorySource

__all__ = ["context"]


class TestArchiveSource(SourceConformance):
    @pytest.fixture
    async def source(self, tmp_path: Path) -> ArchiveSource:
        def run(number: int, project: str) -> MemoryRun:
            return MemoryRun(
                Run(id=f"r{number}", namespace=Namespace("", project), started_at=number),
                history=[("loss", 0, 0, 1.0), ("loss", 1, 5, float("nan"))],
                files={"log.txt": b"hello"},
                artifacts={"data": {"a": b"12345", "b": b""}},
            )

        filled = MemorySource({"p": [run(1, "p"), run(2, "p")], "q": [run(3, "q")]})
        async with Engine(filled, ArchiveDestination(str(tmp_path / "archive"))) as engine:
            assert (await engine.run()).failure_count == 0
        return ArchiveSource(str(tmp_path / "archive"))


class TestArchiveDestination(DestinationConformance):
    @pytest.fixture
    def destination(self, tmp_path: Path) -> ArchiveDestination:
        self.root = tmp_path / "archive"
        return ArchiveDestination(str(self.root))

    async def snapshot(self, destination: Destination) -> Any:
        return contents(self.root)


def contents(root: Path) -> dict[str, bytes]:
    """Every file of an archive."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".staging" not in path.parts
    }
