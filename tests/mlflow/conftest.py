"""Stores and servers that several test modules read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.mlflow.rest_world import rest_world
from tests.mlflow_server import MlflowServer, running_mlflow
from tests.stores import Store


@dataclass(frozen=True)
class ServedWorld:
    server: MlflowServer
    store: Store


@pytest.fixture(scope="session")
def served_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedWorld]:
    """A real tracking server over the store of ``rest_world``."""
    store = rest_world(tmp_path_factory.mktemp("world"))
    with running_mlflow(store.uri, store.served) as server:
        yield ServedWorld(server, store)


@pytest.fixture(autouse=True)
def _no_ambient_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What the developer has in the environment or at home must not decide a test."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp()))
    for name in ("USERNAME", "PASSWORD", "TOKEN", "INSECURE_TLS", "SERVER_CERT_PATH", "CLIENT_CERT_PATH"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    monkeypatch.delenv("MLFLOW_WORKSPACE", raising=False)
