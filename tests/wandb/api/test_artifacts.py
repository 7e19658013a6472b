"""Artifacts: found by name, listed, downloaded with every digest checked."""

from __future__ import annotations

from pathlib import Path

import pytest
import wandb

import engine
from engine.wandb.api import Api
from tests.wandb.conftest import ENTITY

pytestmark = pytest.mark.anyio

PROJECT = f"{ENTITY}/trained"


@pytest.mark.parametrize("name", ["weights:v1", "weights:best", "weights:latest", "weights", "weights:v0"])
async def test_a_version_is_what_the_sdk_tells(api: Api, sdk: wandb.Api, name: str):
    ours = await api.artifact(f"{PROJECT}/{name}")
    theirs = sdk.artifact(f"{PROJECT}/{name if ':' in name else name + ':latest'}")
    for field in ("type", "version", "digest", "size", "file_count", "description", "state", "id"):
        assert getattr(ours, field) == getattr(theirs, field), field
    assert (sorted(ours.aliases), ours.tags) == (sorted(theirs.aliases), theirs.tags)
    assert (ours.metadata, ours.name) == (theirs.metadata, f"weights:{theirs.version}")
    assert ours.qualified_name == f"{PROJECT}/{ours.name}"


async def test_a_manifest_has_files_and_references(api: Api, sdk: wandb.Api):
    ours = await (await api.artifact(f"{PROJECT}/weights:v1")).manifest()
    theirs = sdk.artifact(f"{PROJECT}/weights:v1").manifest.entries
    assert {path: (entry.ref, entry.digest) for path, entry in ours.items()} == {
        path: (entry.ref, entry.digest) for path, entry in theirs.items()
    }
    assert ours["far"].ref == "s3://bucket/key"


async def test_a_download_has_every_file(api: Api, tmp_path: Path):
    version = await api.artifact(f"{PROJECT}/weights:v2")
    root = await version.download(tmp_path / "w")
    assert (root / "deep" / "w.bin").read_bytes() == b"\x02" * 5_000
    assert (root / "empty").read_bytes() == b""
    assert not (root / "far").exists()
    # What is right stays, what is not is never passed off as right.
    assert await version.download(tmp_path / "w") == root
    (root / "deep" / "w.bin").write_bytes(b"\x03" * 5_000)
    with pytest.raises(engine.Conflict):
        await version.download(tmp_path / "w")
    await version.download(tmp_path / "w", replace=True)
    assert (root / "deep" / "w.bin").read_bytes() == b"\x02" * 5_000


async def test_a_part_of_a_version(api: Api, tmp_path: Path):
    root = await (await api.artifact(f"{PROJECT}/weights:v2")).download(tmp_path, path_prefix="deep/")
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["w.bin"]


async def test_lineage(api: Api):
    version = await api.artifact(f"{PROJECT}/weights:v1")
    made_by = await version.logged_by()
    assert made_by is not None
    assert (made_by.namespace.path, made_by.id) == (PROJECT, "everything")
    assert await version.used_by() == []


async def test_artifacts_of_a_run(api: Api, sdk: wandb.Api):
    run, witness = await api.run(f"{PROJECT}/everything"), sdk.run(f"{PROJECT}/everything")
    ours = [version.name async for version in run.logged_artifacts(per_page=1)]
    assert sorted(ours) == sorted(version.name for version in witness.logged_artifacts())
    assert [version async for version in run.used_artifacts()] == list(witness.used_artifacts()) == []


async def test_collections_and_their_versions(api: Api, sdk: wandb.Api):
    collections = {found.name: found async for found in api.artifact_collections(PROJECT)}
    assert set(collections) >= {"weights"}
    assert [found.name async for found in api.artifact_collections(PROJECT, "model")] == ["weights"]
    theirs = [version.name for version in sdk.artifacts("model", f"{PROJECT}/weights")]
    assert [version.name async for version in collections["weights"].versions(per_page=2)] == theirs
    assert [version.name async for version in api.artifacts("model", f"{PROJECT}/weights")] == theirs
    assert "model" in [kind async for kind in api.artifact_types(PROJECT)]


async def test_versions_are_chosen_by_their_tags(api: Api, sdk: wandb.Api):
    name = f"{PROJECT}/weights"
    found = [version.name async for version in api.artifacts("model", name, tags=["t1"])]
    assert found == [version.name for version in sdk.artifacts("model", name, tags=["t1"])] == ["weights:v1"]
    assert [version async for version in api.artifacts("model", name, tags=["t1", "t2"])] == []


async def test_a_type_that_no_collection_has_is_an_error(api: Api):
    with pytest.raises(engine.NotFound, match="nothing"):
        [each async for each in api.artifact_collections(PROJECT, "nothing")]


async def test_the_registries_of_an_organisation_are_projects(api: Api, sdk: wandb.Api):
    sdk.create_registry(
        name="models", visibility="organization", organization="sandbox", artifact_types=["model"]
    )
    (registry,) = await api.registries()
    assert registry.namespace.project == f"wandb-registry-{next(iter(sdk.registries())).name}"
    assert [each async for each in api.artifact_collections(str(registry.namespace))] == []


async def test_what_is_not_there_or_of_another_type(api: Api):
    for name in ("weights:v9", "nothing:latest", "weights:nobody"):
        with pytest.raises(engine.CommError):
            await api.artifact(f"{PROJECT}/{name}")
    with pytest.raises(engine.ConfigError, match="model"):
        await api.artifact(f"{PROJECT}/weights", type="dataset")
