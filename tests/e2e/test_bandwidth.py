"""``--bandwidth``, as the server sees it."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path

import pytest
from aiohttp import web
from mlflow import MlflowClient

from engine.sandbox import Account
from tests.e2e.transfers import Target, command
from tests.servers import RunningSandbox, running_sandbox
from tests.stores import sqlite_store

KIB = 1024
FILES, SIZE = 12, 64 * KIB


class Watch:
    """Notes when how many bytes of which object were stored."""

    def __init__(self) -> None:
        self.stored: list[tuple[float, int]] = []

    async def __call__(
        self, request: web.Request, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        response = await answer(request)
        if request.method == "PUT" and request.content_length == SIZE:
            self.stored.append((time.monotonic(), SIZE))
        return response

    def rate(self) -> float:
        """Bytes per second from the first object to the last."""
        times = [at for at, _ in self.stored]
        return sum(size for _, size in self.stored[1:]) / (max(times) - min(times))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("store")
    uri = sqlite_store(directory).uri
    client = MlflowClient(uri)
    run = client.create_run(client.create_experiment("bytes", (directory / "artifacts").as_uri()))
    for number in range(FILES):
        path = directory / f"file{number}"
        path.write_bytes(os.urandom(SIZE))
        client.log_artifact(run.info.run_id, str(path))
    client.set_terminated(run.info.run_id)
    return uri


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def server(watch: Watch, tmp_path: Path) -> Generator[RunningSandbox]:
    with running_sandbox(tmp_path / "sandbox", accounts=[Account("e2e")], intercept=watch) as running:
        yield running


@pytest.mark.parametrize("limit", [None, 256 * KIB])
def test_objects_keep_to_the_bandwidth(store: str, server: RunningSandbox, watch: Watch, limit: int | None):
    target = Target(server.url, server.api_key, "e2e", "limited")
    options = [] if limit is None else ["--bandwidth", f"{limit // KIB}KiB"]
    outcome = command(
        "migrate", f"mlflow:{store}", target.uri, *options, environ={"WANDB_API_KEY": server.api_key}
    )
    assert outcome.status == 0, outcome.text
    assert len(watch.stored) == FILES
    if limit is None:
        assert watch.rate() > 2 * 256 * KIB
    else:
        assert 0.7 * limit < watch.rate() < 1.2 * limit


@pytest.mark.parametrize("wrong", ["fast", "0", "-1MB"])
def test_a_bandwidth_that_is_none_is_told(store: str, server: RunningSandbox, wrong: str):
    target = Target(server.url, server.api_key, "e2e", "limited")
    outcome = command("migrate", f"mlflow:{store}", target.uri, f"--bandwidth={wrong}")
    assert outcome.status == 2
    assert wrong in outcome.text
