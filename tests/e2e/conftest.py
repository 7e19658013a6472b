"""Servers, stores and places to write to that the end-to-end tests share."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path

import pytest

from engine.sandbox import Account
from tests.e2e.transfers import Target
from tests.sdk_reader import SdkReader
from tests.servers import RunningSandbox, running_sandbox


@pytest.fixture(scope="module", autouse=True)
def _sdk_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The SDK keeps caches and settings; each module has its own, so that nothing comes from before.

    Bytes that one damages on purpose would be found again by their digest.
    """
    home = str(tmp_path_factory.mktemp("wandb-home"))
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("DIR", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR", "ARTIFACT_DIR"):
            patch.setenv(f"WANDB_{kind}", home)
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("NETRC", f"{home}/netrc")
        patch.delenv("WANDB_API_KEY", raising=False)
        # Here the official SDK is the witness; tests of verification ask for it.
        patch.setenv("ENGINE_VERIFY", "none")
        yield


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningSandbox]:
    account = Account("e2e", teams=("team-projects", "team-hostile", "team-names", "team-mapped"))
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), accounts=[account]) as running:
        yield running


@pytest.fixture(scope="session")
def reader(sandbox: RunningSandbox) -> SdkReader:
    return SdkReader(sandbox.url, sandbox.api_key)


@pytest.fixture(scope="session")
def projects(sandbox: RunningSandbox) -> Iterator[Target]:
    """Targets in one entity; each ``next`` is a project that nobody wrote to."""
    return (Target(sandbox.url, sandbox.api_key, "e2e", f"p{number}") for number in count())


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for MLflow stores."""
    return tmp_path_factory.mktemp("stores")
