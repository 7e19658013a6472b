"""Two W&B servers, and MLflow stores like those that W&B's own importer was tested with."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from engine.sandbox import Account
from tests.servers import RunningSandbox, running_sandbox
from tests.stores import Store, file_store, put, sqlite_store
from tests.wandb.conftest import run_sdk

A, B = "ann", "bob"
"""The user of either server; on the second one ``ann`` is a team, so that projects can keep their path."""

EXPERIMENTS = 2
RUNS = 2
"""Of each experiment."""

STEPS = 15
METRICS = tuple(f"metric{number}" for number in range(3))
PARAMS = tuple(f"param{number}" for number in range(9))
LONG_TAG = "x" * 400
FILES = {
    f"{top}/{path}": f"{top} {path}".encode()
    for top in ("a", "b")
    for path in (*(f"{n}.txt" for n in range(5)), *(f"deep{n}/{m}.txt" for n in range(3) for m in range(2)))
}


@pytest.fixture(scope="session", autouse=True)
def _sdk_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The SDK keeps caches and settings; here they are its own, so that nothing comes from before."""
    home = str(tmp_path_factory.mktemp("wandb-home"))
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("DIR", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR", "ARTIFACT_DIR"):
            patch.setenv(f"WANDB_{kind}", home)
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("NETRC", f"{home}/netrc")
        patch.delenv("WANDB_API_KEY", raising=False)
        patch.delenv("WANDB_BASE_URL", raising=False)
        yield


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importers keep their ledger where they are called."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningSandbox]:
    teams = (A, *(f"{A}{number}" for number in range(9)))
    with running_sandbox(tmp_path_factory.mktemp("b"), accounts=[Account(B, teams=teams)]) as running:
        yield running


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningSandbox]:
    """A server with a project that the official SDK filled."""
    with running_sandbox(tmp_path_factory.mktemp("a"), accounts=[Account(A)]) as running:
        run_sdk("tests.importers.sdk_project", running, tmp_path_factory.mktemp("sdk"))
        yield running


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return filled(sqlite_store(tmp_path_factory.mktemp("mlflow")))


@pytest.fixture(scope="session")
def old_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return filled(file_store(tmp_path_factory.mktemp("mlruns")))


def filled(store: Store) -> Store:
    client = MlflowClient(store.uri)
    root = store.served.parent / "artifacts"
    for experiment in range(EXPERIMENTS):
        location = root.joinpath(str(experiment)).as_uri()
        experiment_id = client.create_experiment(f"experiment {experiment}", artifact_location=location)
        for number in range(RUNS):
            run_id = client.create_run(experiment_id, run_name=f"run {number}").info.run_id
            client.log_batch(
                run_id,
                metrics=[
                    Metric(key, step / (1 + number), 1_700_000_000_000 + step, step)
                    for step in range(STEPS)
                    for key in METRICS
                ],
                params=[Param(key, value) for key, value in zip(PARAMS, _VALUES, strict=True)],
                tags=[RunTag("longTag", LONG_TAG), RunTag("number", str(number))],
            )
            client.set_terminated(run_id)
            put(store, run_id, FILES)
            store.runs[f"{experiment}/{number}"] = run_id
    return store


_VALUES = ("1", "0.1", "None", "(1, 2)", "{'a'}", "é ☃ 数", "", "text", "1e-05")
