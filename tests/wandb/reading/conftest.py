"""A source over the sandbox that all tests here share."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from engine.protocols import SystemOptions
from engine.records import Json, Namespace
from engine.transfer.context import Context
from engine.wandb import WandbSource
from tests.servers import RunningSandbox
from tests.wandb.conftest import ENTITY


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(spool=tmp_path)


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project of the test's own."""
    return str(request.node.name)[:100].replace("[", "-").replace("]", "")


@pytest.fixture
async def source(sandbox: RunningSandbox, context: Context) -> AsyncGenerator[WandbSource]:
    opened = WandbSource(f"{sandbox.url}/{ENTITY}", SystemOptions(api_key=sandbox.api_key))
    async with opened.open(context):
        yield opened


async def rows_of(source: WandbSource, project: str, run: str) -> list[dict[str, Json]]:
    """The whole history of a run."""
    found = await source.run(Namespace(ENTITY, project), run)
    return [dict(row) async for chunk in source.history(found) for row in chunk.rows]  # type: ignore[union-attr]
