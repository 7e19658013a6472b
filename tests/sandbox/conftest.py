"""A sandbox that all tests here share, and what the official SDK wrote into it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import wandb

from engine.sandbox import Account
from tests.servers import RunningSandbox, running_sandbox

_numbers = count()


@pytest.fixture(scope="session")
def sdk_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An environment in which the SDK finds nothing of this machine's user."""
    home = tmp_path_factory.mktemp("sdk-home")
    own = {
        **{
            f"WANDB_{kind}": str(home)
            for kind in ("DIR", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR", "ARTIFACT_DIR")
        },
        "HOME": str(home),
        "NETRC": str(home / "netrc"),
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name, value in own.items():
            patch.setenv(name, value)
        yield dict(os.environ)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningSandbox]:
    accounts = [
        Account("ann", teams=("lab",), email="ann@example.org"),
        Account("bob"),
        Account("eve", teams=("lab",)),
    ]
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), accounts=accounts) as running:
        yield running


@pytest.fixture
def project() -> str:
    """The name of a project that nobody has used."""
    return f"project-{next(_numbers)}"


@pytest.fixture(scope="session")
def new_api(sandbox: RunningSandbox, sdk_environment: dict[str, str]) -> Callable[[], wandb.Api]:
    """Makes readers without anything cached."""
    return lambda: wandb.Api(overrides={"base_url": sandbox.url}, api_key=sandbox.api_key, timeout=30)


@pytest.fixture(scope="session")
def api(new_api: Callable[[], wandb.Api]) -> wandb.Api:
    return new_api()


@pytest.fixture(scope="session")
def written(
    sandbox: RunningSandbox, sdk_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """What ``sdk_writer`` reports after it has written its runs to project ``sdk``."""
    directory = tmp_path_factory.mktemp("writer")
    done = subprocess.run(
        [sys.executable, "-m", "tests.sandbox.sdk_writer", str(directory), "--all"],
        env={**sdk_environment, "WANDB_BASE_URL": sandbox.url, "WANDB_API_KEY": sandbox.api_key},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((directory / "report.json").read_text())


@pytest.fixture
def new_run(sandbox: RunningSandbox, project: str) -> Callable[..., Any]:
    """Creates a run with the fields of ``UpsertBucketInput``; returns its bucket."""

    def create(**fields: Any) -> Any:
        return upsert(sandbox, modelName=project, **fields)["bucket"]

    return create


def upsert(sandbox: RunningSandbox, *, key: str | None = None, **fields: Any) -> Any:
    return sandbox.graphql(UPSERT, key=key, input=fields)["upsertBucket"]


UPSERT = """mutation Upsert($input: UpsertBucketInput!) { upsertBucket(input: $input) {
    inserted bucket { id name displayName state config summaryMetrics tags notes description group jobType
    commit host sweepName historyLineCount project { name entity { name } } } } }"""
