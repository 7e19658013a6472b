"""An open ``Api`` on what the official SDK wrote, and the SDK's own ``Api`` on the same, as the witness."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import wandb

from engine.wandb.api import Api
from tests.servers import RunningSandbox


@pytest.fixture
async def api(filled: RunningSandbox) -> AsyncGenerator[Api]:
    async with Api(base_url=filled.url, api_key=filled.api_key) as opened:
        yield opened


@pytest.fixture
def sdk(
    filled: RunningSandbox, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> wandb.Api:
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path_factory.mktemp("wandb-cache")))
    monkeypatch.setenv("WANDB_SILENT", "true")
    return wandb.Api(overrides={"base_url": filled.url}, api_key=filled.api_key)
