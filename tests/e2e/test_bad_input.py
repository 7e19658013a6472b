"""What goes wrong is told in one message with side, object, cause and next step; the rest arrives."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.transfers import Outcome, Target, command, migrate_command
from tests.sdk_reader import SdkReader
from tests.stores import Store, file_store, ordinary_store, sqlite_store

NOBODY_LISTENS = "127.0.0.1:9"
SECRET = "hunter2"


@pytest.fixture(scope="module")
def store(stores: Path) -> Store:
    return ordinary_store(sqlite_store(stores / "sound"))


@pytest.fixture
def target(projects: Iterator[Target]) -> Target:
    return next(projects)


def refused(outcome: Outcome, status: int, *words: str) -> None:
    """It ended with this status, said all of these words, and neither a traceback nor a secret."""
    assert outcome.status == status, outcome.text
    for word in words:
        assert word in outcome.text
    assert "Traceback" not in outcome.text
    assert "unexpected" not in outcome.text
    assert SECRET not in outcome.text


# -- a side that cannot be used ------------------------------------------------------------------


def test_an_unreachable_tracking_server(target: Target) -> None:
    outcome = migrate_command(f"http://ada:{SECRET}@{NOBODY_LISTENS}", target)
    refused(outcome, 3, "source:", NOBODY_LISTENS, "cannot connect", "is it running")


def test_an_unreachable_database_server(target: Target) -> None:
    outcome = migrate_command(f"postgresql://ada:{SECRET}@{NOBODY_LISTENS}/mlflow", target)
    refused(outcome, 3, "source:", NOBODY_LISTENS, "refused", "check host and port")


def test_an_unreachable_destination(store: Store, target: Target) -> None:
    nowhere = Target(f"http://{NOBODY_LISTENS}", target.api_key, "e2e", "x")
    refused(
        migrate_command(store.uri, nowhere),
        3,
        "destination:",
        NOBODY_LISTENS,
        "cannot connect",
        "is it running",
    )


def test_a_wrong_key(store: Store, target: Target) -> None:
    stranger = Target(target.url, "f" * 40, "e2e", "x")
    refused(migrate_command(store.uri, stranger), 3, "destination:", "401", "API key", "WANDB_API_KEY")


def test_a_key_that_can_be_none(store: Store, target: Target) -> None:
    malformed = Target(target.url, f"{SECRET}-cut-off", "e2e", "x")
    refused(migrate_command(store.uri, malformed), 2, "destination:", "malformed", "copy it again")


def test_no_key_at_all(store: Store, target: Target) -> None:
    keyless = Target(target.url, "", "e2e", "x")
    refused(migrate_command(store.uri, keyless), 2, "destination:", "no API key", "set WANDB_API_KEY")


def test_an_entity_of_somebody_else(store: Store, target: Target) -> None:
    elsewhere = Target(target.url, target.api_key, "nobody", "x")
    refused(migrate_command(store.uri, elsewhere), 2, "destination:", "'nobody'", "you may write to: e2e")


def test_a_system_that_is_not_known(target: Target) -> None:
    refused(command("migrate", "neptune:x", target.uri), 2, "neptune:x", "mlflow:, wandb:")


# -- a store that is none ------------------------------------------------------------------------


def test_a_database_that_is_not_there(target: Target) -> None:
    refused(migrate_command("sqlite:////no/such.db", target), 2, "source:", "/no/such.db", "check the path")


def test_a_file_that_is_no_database(tmp_path: Path, target: Target) -> None:
    tmp_path.joinpath("notes.db").write_text("no database " * 1_000)
    outcome = migrate_command(f"sqlite:///{tmp_path}/notes.db", target)
    refused(outcome, 2, "source:", "notes.db", "not an SQLite database", "check the path")


def test_a_database_of_something_else(tmp_path: Path, target: Target) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.execute("CREATE TABLE orders (id)")
    outcome = migrate_command(f"sqlite:///{tmp_path}/shop.db", target)
    refused(outcome, 2, "source:", "shop.db", "not an MLflow tracking store", "check the URI")


def test_a_database_that_is_cut_in_half(store: Store, tmp_path: Path, target: Target) -> None:
    whole = store.database.read_bytes()
    tmp_path.joinpath("half.db").write_bytes(whole[: len(whole) // 2])
    outcome = migrate_command(f"sqlite:///{tmp_path}/half.db", target)
    refused(outcome, 3, "source:", "half.db", "damaged", ".recover")


def test_a_file_store_that_is_not_there(target: Target) -> None:
    refused(migrate_command("/no/mlruns", target), 2, "source:", "/no/mlruns", "check the path")


def test_an_experiment_that_is_not_there(store: Store, target: Target) -> None:
    outcome = migrate_command(store.uri, target, "--experiment", "vision/resnat")
    refused(outcome, 2, "source:", "'vision/resnat'", "did you mean 'vision/resnet'?")


def test_a_filter_that_is_none(store: Store, target: Target) -> None:
    outcome = migrate_command(store.uri, target, "--filter", "metrics.loss ~~ 3")
    refused(outcome, 2, "metrics.loss ~~ 3", "write it as")


# -- a part that cannot be read ------------------------------------------------------------------


def test_one_damaged_run_in_a_database(stores: Path, target: Target, reader: SdkReader) -> None:
    store = ordinary_store(sqlite_store(stores / "garbage"))
    with closing(sqlite3.connect(store.database)) as database, database:
        run, history = store.runs["sweep-1"], store.runs["sweep-2"]
        database.execute("UPDATE runs SET start_time = 'yesterday' WHERE run_uuid = ?", (run,))
        database.execute("UPDATE metrics SET value = 'much' WHERE run_uuid = ? AND step = 0", (history,))
    outcome = migrate_command(
        store.uri, target, "--artifact-root", f"mlflow-artifacts:/={store.served}/", "--json"
    )
    refused(outcome, 1, run, history, "source:", "repair")
    failed = {(event["item"], event["run"]) for event in outcome.events if event["type"] == "item_failed"}
    assert failed == {("run", run), ("history", history)}
    assert reader.project(target.entity, target.project).keys() == set(store.runs.values()) - {run}


def test_one_damaged_run_in_a_file_store(stores: Path, target: Target, reader: SdkReader) -> None:
    store = ordinary_store(file_store(stores / "broken"))
    run = store.runs["sweep-1"]
    next((stores / "broken").rglob(f"{run}/meta.yaml")).write_text("{{{ no yaml")
    outcome = migrate_command(
        store.uri, target, "--artifact-root", f"mlflow-artifacts:/={store.served}/", "--json"
    )
    refused(outcome, 1, run, "meta.yaml", "no YAML", "restore the file")
    assert reader.project(target.entity, target.project).keys() == set(store.runs.values()) - {run}


def test_artifacts_that_only_a_server_can_hand_out(store: Store, target: Target, reader: SdkReader) -> None:
    """The runs themselves arrive; the message names the option that makes the artifacts arrive too."""
    outcome = migrate_command(store.uri, target, "--json")
    refused(outcome, 1, store.runs["proxied"], "source:", "--artifact-root")
    read = reader.project(target.entity, target.project)
    assert read.keys() == set(store.runs.values())
    assert read[store.runs["proxied"]].points().total() == 22
    again = migrate_command(store.uri, target, "--artifact-root", f"mlflow-artifacts:/={store.served}/")
    assert again.status == 0
    (artifact,) = reader.project(target.entity, target.project)[store.runs["proxied"]].artifacts
    assert len(artifact.files) == 3


def test_an_artifact_root_that_is_gone(stores: Path, target: Target, reader: SdkReader) -> None:
    """From here it could as well be a store without artifacts, so it is declared rather than failed."""
    store = ordinary_store(sqlite_store(stores / "moved"))
    store.served.parent.joinpath("artifacts").rename(stores / "elsewhere")
    served = ("--artifact-root", f"mlflow-artifacts:/={store.served}/", "--state-dir", str(stores / "state"))
    outcome = migrate_command(store.uri, target, *served, "--json")
    refused(outcome, 0, "artifact_root_absent", "--artifact-root")
    assert reader.project(target.entity, target.project).keys() == set(store.runs.values())
    moved = ("--artifact-root", f"{stores}/moved/artifacts={stores}/elsewhere")
    again = migrate_command(store.uri, target, *served, *moved, "--json")
    assert again.status == 0
    assert again.events[-1]["files"] == 11


def test_the_source_is_never_written_to(store: Store, target: Target) -> None:
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in _files(store)}
    migrate_command(store.uri, target, "--artifact-root", f"mlflow-artifacts:/={store.served}/")
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in _files(store)} == before


def _files(store: Store) -> list[Path]:
    return sorted(path for path in store.database.parent.rglob("*") if path.is_file())
