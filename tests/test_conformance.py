"""The conformance kit, run on the smallest source and destination there are."""

from __future__ import annotations

from typing import Any

import pytest

from engine.protocols import Destination
from engine.records import Namespace, Run
from tests.conformance import DestinationConformance, SourceConformance, context
from tests.memory import MemoryDestination, MemoryRun, MemorySource

__all__ = ["context"]


class TestMemorySource(SourceConformance):
    @pytest.fixture
    def source(self) -> MemorySource:
        def run(number: int, project: str) -> MemoryRun:
            return MemoryRun(
                Run(id=f"r{number}", namespace=Namespace("", project), started_at=number),
                history=[("loss", 0, 0, 1.0)],
                artifacts={"data": {"a": b"12345", "b": b""}},
            )

        return MemorySource({"p": [run(1, "p"), run(2, "p")], "q": [run(3, "q")]})


class TestMemoryDestination(DestinationConformance):
    @pytest.fixture
    def destination(self) -> MemoryDestination:
        return MemoryDestination()

    async def snapshot(self, destination: Destination) -> Any:
        assert isinstance(destination, MemoryDestination)
        return repr(destination.written)
