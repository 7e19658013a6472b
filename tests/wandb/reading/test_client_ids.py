"""What rows and summaries say of versions that do not come along is told, once."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine import Engine, Options, open_destination, open_source
from engine.protocols import SystemOptions
from engine.records import Collection, Namespace, Project, Run, Selection
from engine.transfer.context import Context
from engine.transfer.ledger.ledger import open_ledger
from engine.transfer.ledger.memos import Memos
from engine.transfer.options import Result
from engine.wandb import WandbSource
from tests.sandbox.artifact_writer import ArtifactWriter
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


SPEAKING, OTHER = Namespace(ENTITY, "speaks-of-another"), Namespace(ENTITY, "is-spoken-of")


@asynccontextmanager
async def process(sandbox: RunningSandbox, state: Path, *, incremental: bool) -> AsyncGenerator[WandbSource]:
    """A source that remembers what other processes read."""
    source = WandbSource(f"{sandbox.url}/{ENTITY}", SystemOptions(api_key=sandbox.api_key))
    async with (
        open_ledger("a", "b", state_dir=state, scratch=state) as ledger,
        source.open(Context(spool=state, memos=Memos(ledger, reads=incremental))),
    ):
        yield source


async def run_of(source: WandbSource) -> Run:
    listed = [run async for run in source.runs(Project(namespace=SPEAKING, id=""), Selection())]
    (run,) = listed
    assert isinstance(run, Run)
    return run


@pytest.mark.parametrize("incremental", [True, False])
async def test_a_version_of_another_project_is_known_by_rows_that_another_process_read(
    sandbox: RunningSandbox, tmp_path: Path, incremental: bool
):
    version = ArtifactWriter(sandbox, OTHER.project, ENTITY).log("ds", {"t.json": b"{}"})
    by_id = f"wandb-artifact://{base64.b64decode(version['id']).hex()}"
    table = {"_type": "table-file", "path": "t.json", "artifact_path": f"{by_id}/t.json"}
    raw.upsert(sandbox, SPEAKING.project, "r")
    # Only a row says so: the summary has what came last.
    rows = [{"_step": step, "_timestamp": 1e9, "t": told} for step, told in enumerate((table, 1))]
    raw.stream(sandbox, SPEAKING.project, "r", rows, complete=True, exitcode=0)
    async with process(sandbox, tmp_path, incremental=incremental) as source:
        assert len([chunk async for chunk in source.history(await run_of(source))]) == 1
    async with process(sandbox, tmp_path, incremental=incremental) as source:
        await run_of(source)
        _, (found,) = await source.collection(Collection(namespace=OTHER, name="ds", type="dataset"))
    assert len(found.client_ids) == 1
