"""One MLflow store by every way in, read back by W&B's own SDK."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.source_reader import SourceRun, runs_of
from tests.e2e.transfers import Target, migrate
from tests.mlflow_server import running_mlflow
from tests.postgresql import running_postgresql
from tests.sdk_reader import SdkReader, SdkRun
from tests.stores import Store, copied_to_postgresql, file_store, ordinary_store, sqlite_store

SQL_ROUTES = ("sqlite", "postgresql", "server on sqlite", "server on postgresql")
ROUTES = (*SQL_ROUTES, "files")
STATES = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "failed", "RUNNING": "running"}
"""W&B has no request that ends a run as killed; that it was one is in its provenance."""


@pytest.fixture(scope="module")
def sqlite(stores: Path) -> Store:
    return ordinary_store(sqlite_store(stores / "sqlite"))


@pytest.fixture(scope="module")
def postgresql(sqlite: Store, stores: Path) -> Generator[Store]:
    with running_postgresql(stores / "postgresql") as uri:
        yield copied_to_postgresql(sqlite, uri.replace("postgresql:", "postgresql+psycopg:"))


@pytest.fixture(scope="module")
def files(stores: Path) -> Store:
    return ordinary_store(file_store(stores / "files"))


@pytest.fixture(scope="module")
def route(sqlite: Store, request: pytest.FixtureRequest) -> Iterator[Callable[[str], tuple[Store, str]]]:
    """The store behind a route and the URI that leads to it; servers start when they are first asked for."""
    with ExitStack() as servers:

        @cache
        def lead(name: str) -> tuple[Store, str]:
            backend = name.removeprefix("server on ")
            store: Store = request.getfixturevalue(backend)
            if backend == name:
                return store, store.uri
            server = servers.enter_context(running_mlflow(store.uri, store.served))
            return store, server.url

        yield lead


Arrived = Callable[[str], tuple[dict[str, SourceRun], dict[str, SdkRun], Target]]


@pytest.fixture(scope="module")
def arrived(
    route: Callable[[str], tuple[Store, str]], projects: Iterator[Target], reader: SdkReader
) -> Arrived:
    """What the source held and what the destination has after one transfer by a route."""

    @cache
    def by(name: str) -> tuple[dict[str, SourceRun], dict[str, SdkRun], Target]:
        store, uri = route(name)
        target = next(projects)
        result = migrate(uri, target, artifact_roots=_roots(name, store))
        assert result.failures == []
        assert result.runs_done == len(store.runs)
        return runs_of(store), reader.project(target.entity, target.project), target

    return by


def _roots(route: str, store: Store) -> dict[str, str]:
    """Without a server nobody answers for ``mlflow-artifacts:``, so its directory has to be named."""
    return {} if route.startswith("server") else {"mlflow-artifacts:/": f"{store.served}/"}


@pytest.mark.parametrize("name", ROUTES)
def test_every_run_arrives_under_its_own_id(arrived: Arrived, name: str) -> None:
    source, read, _ = arrived(name)
    assert len(source) == 12
    assert read.keys() == source.keys()


@pytest.mark.parametrize("name", ROUTES)
def test_names_states_notes_and_users_arrive(arrived: Arrived, name: str) -> None:
    source, read, _ = arrived(name)
    for run_id, run in source.items():
        assert read[run_id].name == run.name
        assert read[run_id].state == STATES[run.status], run.name
        assert read[run_id].provenance["state"] == run.status
        assert read[run_id].provenance["user"] == run.user
        assert read[run_id].job_type == f"User {run.user}"
        assert (read[run_id].notes or None) == run.tags.get("mlflow.note.content")


@pytest.mark.parametrize("name", ROUTES)
def test_params_arrive_as_the_strings_that_they_are(arrived: Arrived, name: str) -> None:
    source, read, _ = arrived(name)
    for run_id, run in source.items():
        config = {
            k: v for k, v in read[run_id].config.items() if k not in ("_import", "imported_mlflow_tags")
        }
        assert config == run.params


@pytest.mark.parametrize("name", ROUTES)
def test_tags_arrive_in_the_config(arrived: Arrived, name: str) -> None:
    source, read, _ = arrived(name)
    for run_id, run in source.items():
        assert read[run_id].labels == run.user_tags


@pytest.mark.parametrize("name", ROUTES)
def test_every_point_arrives_with_its_key_step_and_value(arrived: Arrived, name: str) -> None:
    source, read, _ = arrived(name)
    for run_id, run in source.items():
        assert read[run_id].points() == run.points, run.name


@pytest.mark.parametrize("name", ROUTES)
def test_rows_carry_the_latest_time_of_their_points(arrived: Arrived, name: str) -> None:
    source, read, _ = arrived(name)
    for run_id, run in source.items():
        latest: dict[int, int] = {}
        for (_, step), times in run.times.items():
            latest[step] = max(latest.get(step, 0), *times)
        assert {row["_step"]: round(row["_timestamp"] * 1000) for row in read[run_id].rows} == latest
        for row in read[run_id].rows:
            assert run.started_at is not None
            expected = (latest[row["_step"]] - run.started_at) / 1000
            assert row["_runtime"] == pytest.approx(max(0, expected), abs=1e-6)


@pytest.mark.parametrize("name", ROUTES)
def test_start_and_end_are_kept(arrived: Arrived, name: str) -> None:
    source, read, _ = arrived(name)
    for run_id, run in source.items():
        assert read[run_id].provenance["started_at"] == run.started_at
        assert read[run_id].provenance.get("ended_at") == run.ended_at
        metadata = read[run_id].metadata
        assert metadata is not None
        assert metadata["startedAt"] == f"2023-11-14T22:13:2{(run.started_at or 0) // 1000 % 10}.123000Z"


@pytest.mark.parametrize("name", ROUTES)
def test_nested_runs_share_the_group_of_their_root(arrived: Arrived, name: str) -> None:
    source, read, _ = arrived(name)
    tree = {run.name: run for run in source.values()}
    root = tree["sweep 1"].id
    groups = {read[tree[name].id].group for name in ("trial 0", "trial 1", "trial 2", "grandchild")}
    assert len(groups) == 1
    assert groups == {read[root].group} or groups <= {root, "sweep 1"}
    assert read[tree["grandchild"].id].provenance["parent_id"] == tree["trial 0"].id
    assert read[tree["trial 1"].id].provenance["parent_id"] == root


@pytest.mark.parametrize("name", ROUTES)
def test_runs_of_an_experiment_are_grouped_by_its_name(arrived: Arrived, name: str) -> None:
    source, read, _ = arrived(name)
    for run_id, run in source.items():
        assert read[run_id].provenance["project"] == run.experiment
        if "mlflow.parentRunId" not in run.tags and run.name != "sweep 1":
            assert read[run_id].group == run.experiment


@pytest.mark.parametrize("name", ROUTES)
def test_artifacts_arrive_byte_for_byte_in_one_version(arrived: Arrived, name: str) -> None:
    source, read, _ = arrived(name)
    assert sum(bool(run.files) for run in source.values()) == 5
    for run_id, run in source.items():
        artifacts = read[run_id].artifacts
        assert [artifact.files for artifact in artifacts] == ([run.files] if run.files else []), run.name
        assert {artifact.type for artifact in artifacts} <= {"imported-artifacts"}


@pytest.mark.parametrize("name", ROUTES)
def test_dataset_inputs_are_kept(arrived: Arrived, name: str) -> None:
    source, read, _ = arrived(name)
    for run_id, run in source.items():
        kept = [
            {key: each.get(key) for key in ("name", "digest", "source_type", "source", "context")}
            for each in read[run_id].provenance.get("inputs", [])
        ]
        assert sorted(kept, key=str) == sorted(run.inputs, key=str)


@pytest.mark.parametrize("name", SQL_ROUTES[1:])
def test_the_way_in_makes_no_difference(arrived: Arrived, name: str) -> None:
    _, straight, _ = arrived("sqlite")
    _, other, _ = arrived(name)
    assert {i: _comparable(r) for i, r in other.items()} == {i: _comparable(r) for i, r in straight.items()}


@pytest.mark.parametrize("name", ROUTES)
def test_a_second_transfer_doubles_nothing(
    arrived: Arrived, route: Callable[[str], tuple[Store, str]], reader: SdkReader, name: str
) -> None:
    _, before, target = arrived(name)
    store, uri = route(name)
    result = migrate(uri, target, artifact_roots=_roots(name, store))
    after = reader.project(target.entity, target.project)
    assert result.failures == []
    assert {i: _comparable(r) for i, r in after.items()} == {i: _comparable(r) for i, r in before.items()}


def _comparable(run: SdkRun) -> dict[str, Any]:
    """All of a run but what tells where it came from and when it was brought."""
    told = {name: value for name, value in vars(run).items() if name != "created_at"}
    provenance = {k: v for k, v in run.provenance.items() if k not in ("source", "url")}
    return {
        **told,
        "config": {**run.config, "_import": provenance},
        "files": {n: d for n, d in run.files.items() if n not in ("config.yaml", "wandb-summary.json")},
    }
