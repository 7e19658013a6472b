"""Killed at any moment and started again, as often as it takes: what arrives is what arrives undisturbed."""

from __future__ import annotations

import secrets
from collections.abc import Generator

import pytest
from mlflow import MlflowClient

from tests.e2e.rehearsing import Rehearsal, Undisturbed, rehearsing, survives
from tests.stores import ordinary_store, sqlite_store


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Generator[Rehearsal]:
    with rehearsing(tmp_path_factory.mktemp("crash")) as rehearsal:
        yield rehearsal


@pytest.fixture(scope="module")
def a_world(rehearsal: Rehearsal) -> Undisturbed:
    found = rehearsal.undisturbed("world:")
    versions = [(name, index) for name, index, *_ in found.arrived["records"]["versions"]]
    assert versions[:5] == [
        ("checkpoint", 0),
        ("checkpoint", 1),
        ("images", 0),
        ("images", 1),
        ("images", 2),
    ]
    assert len(found.arrived["records"]["rows"]) > 600
    return found


@pytest.fixture(scope="module")
def a_store(rehearsal: Rehearsal) -> Undisturbed:
    store = ordinary_store(sqlite_store(rehearsal.scratch / "store"))
    # A run that goes on is never done; it has tests of its own.
    MlflowClient(store.uri).set_terminated(store.runs["still-running"])
    return rehearsal.undisturbed(
        f"mlflow:{store.uri}", "--artifact-root", f"mlflow-artifacts:/={store.served}/"
    )


@pytest.mark.parametrize("seed", [1, secrets.randbelow(10**6)], ids=["fixed", "random"])
def test_killed_at_any_moment_it_ends_as_if_undisturbed(
    rehearsal: Rehearsal, a_world: Undisturbed, seed: int
) -> None:
    survives(lambda: rehearsal.migration(*a_world.source), a_world, seed, moments=6)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_so_it_is_at_a_hundred_moments_of_a_world(rehearsal: Rehearsal, a_world: Undisturbed) -> None:
    survives(lambda: rehearsal.migration(*a_world.source), a_world, secrets.randbelow(10**6), moments=130)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_so_it_is_at_a_hundred_moments_of_an_mlflow_store(rehearsal: Rehearsal, a_store: Undisturbed) -> None:
    survives(lambda: rehearsal.migration(*a_store.source), a_store, secrets.randbelow(10**6), moments=90)
