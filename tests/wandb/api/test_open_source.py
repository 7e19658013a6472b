"""One front door over every system: ``engine.open_source`` yields the records of ``run.record``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

import engine
from engine.records import HistoryRows, Run
from engine.transfer.context import Context
from engine.wandb.api import Api
from tests.servers import RunningSandbox
from tests.wandb.conftest import ENTITY

pytestmark = pytest.mark.anyio


async def test_a_source_yields_the_records_of_the_api(api: Api, filled: RunningSandbox, context: Context):
    uri = f"wandb:{filled.url}/{ENTITY}/trained"
    source = engine.open_source(uri, engine.SystemOptions(api_key=filled.api_key))
    async with source.open(context):
        (project,) = [project async for project in source.projects(engine.Selection())]
        runs = {run.id: run async for run in source.runs(project, engine.Selection()) if isinstance(run, Run)}
        rows = [
            row
            async for chunk in source.history(runs["everything"])
            if isinstance(chunk, HistoryRows)
            for row in chunk.rows
        ]
    for run in [run async for run in api.runs(f"{ENTITY}/trained")]:
        # What a source asks besides, for moving runs, is not asked of a list for people.
        known = replace(runs[run.id], locator=None, fingerprint=None, code=run.record.code)
        assert replace(run.record, locator=None, fingerprint=None) == known
    run = await api.run(f"{ENTITY}/trained/everything")
    assert repr(rows) == repr([row async for row in run.scan_history()])


async def test_the_documented_example_reads_every_system(
    filled: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The same code over W&B and over an MLflow store that MLflow made."""
    text = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    example = next(block for block in text.split("```python\n") if "async def losses" in block).split("```")[
        0
    ]
    names: dict[str, Any] = {}
    exec(example.partition("\n\n\n(\n    await")[0], names)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("e", str(tmp_path / "artifacts"))
    run = client.create_run(experiment).info.run_id
    client.log_metric(run, "loss", 0.25)
    monkeypatch.setenv("WANDB_API_KEY", filled.api_key)
    assert (await names["losses"](f"wandb:{filled.url}/{ENTITY}/trained"))["failed"] is None
    assert run in await names["losses"](f"mlflow:sqlite:///{tmp_path}/mlflow.db")
