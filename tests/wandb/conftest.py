"""A sandbox to write to, and W&B's own client to read back with."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import wandb

from engine.protocols import SystemOptions
from engine.records import Namespace, Project, SystemInfo
from engine.sandbox import Account
from engine.transfer.context import Context
from engine.wandb import WandbDestination
from engine.wandb.digests import Multipart
from tests.servers import RunningSandbox, running_sandbox

ENTITY = "rehearsal"


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), accounts=[Account(ENTITY)]) as running:
        yield running


@pytest.fixture
def api(
    sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> wandb.Api:
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path_factory.mktemp("wandb-cache")))
    monkeypatch.setenv("WANDB_SILENT", "true")
    return wandb.Api(overrides={"base_url": sandbox.url}, api_key=sandbox.api_key)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    spool = tmp_path / "spool"
    spool.mkdir()
    return Context(spool=spool, source=SystemInfo(uri="mlflow:http://tracking:5000", product="MLflow server"))


Opened = Callable[..., AbstractAsyncContextManager[tuple[WandbDestination, Namespace]]]


@pytest.fixture
def opened(sandbox: RunningSandbox, context: Context, request: pytest.FixtureRequest) -> Opened:
    """Opens a destination whose project is named after the test."""

    @asynccontextmanager
    async def open_destination(
        source: str = "experiment",
        path: str | None = None,
        multipart: Multipart | None = None,
        **options: Any,
    ) -> AsyncGenerator[tuple[WandbDestination, Namespace]]:
        path = f"{ENTITY}/{request.node.name[:100]}" if path is None else path
        options.setdefault("api_key", sandbox.api_key)
        destination = WandbDestination(f"{sandbox.url}/{path}", SystemOptions(**options), multipart=multipart)
        async with destination.open(context):
            project = Project(namespace=Namespace("", source), id="1")
            yield destination, (await destination.prepare([project]))[project.namespace]

    return open_destination
