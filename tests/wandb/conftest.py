"""A sandbox to write to, and W&B's own client to read back with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import wandb
from aiohttp import web
from aiohttp.typedefs import Handler

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


class Refusals:
    """Stands before a server and refuses GETs of objects, as for URLs that have expired."""

    def __init__(self) -> None:
        self._first = 0
        self._seen: Counter[str] = Counter()

    @contextmanager
    def of_first(self, count: int) -> Generator[None]:
        """While in the block, the first ``count`` GETs of each object are refused."""
        self._seen.clear()
        self._first = count
        try:
            yield
        finally:
            self._first = 0

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "GET" and "/storage/" in request.path and "manifests" not in request.path:
            self._seen[request.path] += 1
            if self._seen[request.path] <= self._first:
                return web.Response(status=403, text="<Error><Message>Request has expired</Message></Error>")
        return await handler(request)


@pytest.fixture(scope="session")
def refusals() -> Refusals:
    return Refusals()


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory, refusals: Refusals) -> Generator[RunningSandbox]:
    """A server of its own, with what ``sdk_source`` wrote into it; nobody else writes there."""
    with running_sandbox(
        tmp_path_factory.mktemp("filled"), accounts=[Account(ENTITY)], intercept=refusals
    ) as running:
        run_sdk("tests.wandb.sdk_source", running, tmp_path_factory.mktemp("sdk-source"))
        yield running


def run_sdk(module: str, server: RunningSandbox, directory: Path, *arguments: str) -> None:
    """Run a script that uses the official SDK, where that finds nothing of this machine's user."""
    home = directory / "home"
    home.mkdir()
    own = {f"WANDB_{kind}_DIR": str(home) for kind in ("CACHE", "DATA", "CONFIG", "ARTIFACT")}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-m", module, str(directory), *arguments],
        env={
            **clean,
            **own,
            "HOME": str(home),
            "NETRC": str(home / "netrc"),
            "WANDB_DIR": str(home),
            "WANDB_SILENT": "true",
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_BASE_URL": server.url,
            "WANDB_API_KEY": server.api_key,
        },
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
