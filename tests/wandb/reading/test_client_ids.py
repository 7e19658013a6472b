"""What rows and summaries say of versions that do not come along is told, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine import Engine, Options, open_destination, open_source
from engine.protocols import SystemOptions
from engine.transfer.options import Result
from tests.servers import RunningSandbox
from tests.wandb import raw
from tests.wandb.conftest import ENTITY

pytestmark = pytest.mark.anyio

GONE = "wandb-client-artifact://" + "ab" * 32


async def transfer(sandbox: RunningSandbox, state: Path) -> Result:
    key = SystemOptions(api_key=sandbox.api_key)
    async with Engine(
        open_source(f"wandb:{sandbox.url}/{ENTITY}/speaks", key),
        open_destination(f"wandb:{sandbox.url}/{ENTITY}/speaks-there", key),
        Options(state_dir=state),
    ) as engine:
        return await engine.run()


async def test_versions_that_no_server_knows_are_listed(sandbox: RunningSandbox, tmp_path: Path):
    table = {"_type": "table-file", "path": "t.json", "artifact_path": f"{GONE}:latest/t.json"}
    raw.upsert(sandbox, "speaks", "r")
    summary = {"wandb-summary.json": [json.dumps({"t": table})]}
    rows = [{"_step": 0, "_timestamp": 1e9, "t": table}]
    raw.stream(sandbox, "speaks", "r", rows, files=summary, complete=True, exitcode=0)
    first = await transfer(sandbox, tmp_path)
    assert not first.failures
    assert first.losses["reference_unresolved"] == 1
    assert GONE in first.loss_examples["reference_unresolved"][0].detail
    again = await transfer(sandbox, tmp_path)
    assert again.runs_skipped == 1
    assert "reference_unresolved" not in again.losses, "it was told"
