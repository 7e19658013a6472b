"""Runs of W&B in an archive: nothing is lost, and what is restored is what a direct copy would be."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.archive import ArchiveDestination, ArchiveSource
from engine.protocols import SystemOptions
from engine.transfer.context import Context
from engine.transfer.engine import Engine
from engine.transfer.options import Options
from engine.wandb import WandbSource
from tests.archive.reading import exact, told_of
from tests.servers import RunningSandbox

pytestmark = pytest.mark.anyio


async def test_what_the_sdk_logged_comes_back_out_of_an_archive(filled: RunningSandbox, tmp_path: Path):
    source = WandbSource(f"{filled.url}/rehearsal", SystemOptions(api_key=filled.api_key))
    async with Engine(source, ArchiveDestination(str(tmp_path / "archive")), Options()) as engine:
        result = await engine.run()
    assert result.failure_count == 0, result.failures
    context = Context(spool=tmp_path)
    kept = await told_of(ArchiveSource(str(tmp_path / "archive")), context)
    direct = await told_of(source, context)
    assert kept.keys() == direct.keys()
    for name, wanted in direct.items():
        assert exact(kept[name]) == exact(wanted), name
    assert any(run["rows"] for run in direct.values() if isinstance(run, dict))
    assert any(run["artifacts"] for run in direct.values() if isinstance(run, dict))
