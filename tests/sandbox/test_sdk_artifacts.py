"""The official SDK logs, uses, reads, changes and deletes artifacts of the sandbox."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb

from tests.sandbox.artifact_writer import canonical_digest, md5_b64
from tests.sandbox.sdk_artifact_writer import PROJECT
from tests.servers import RunningSandbox


@pytest.fixture(scope="module")
def written(
    sandbox: RunningSandbox, sdk_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    directory = tmp_path_factory.mktemp("artifact-writer")
    done = subprocess.run(
        [sys.executable, "-m", "tests.sandbox.sdk_artifact_writer", str(directory)],
        env={**sdk_environment, "WANDB_BASE_URL": sandbox.url, "WANDB_API_KEY": sandbox.api_key},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((directory / "report.json").read_text())


def md5_hex(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def test_logging_gives_a_version_with_aliases(written: Any) -> None:
    version, aliases, digest = written["producer"]["first"]
    assert (version, aliases) == ("v0", ["best", "latest"])
    assert digest == canonical_digest({"data/a.txt": md5_b64(b"one"), "data/b.txt": md5_b64(b"two")})


def test_logging_the_same_again_gives_no_new_version(written: Any) -> None:
    version, aliases, digest = written["producer"]["again"]
    assert (version, aliases) == ("v0", ["again", "best", "latest"])
    assert digest == written["producer"]["first"][2]


def test_logging_other_content_gives_the_next_version(written: Any) -> None:
    assert written["producer"]["changed"] == ["v1", ["latest"]]


def test_a_draft_of_a_version_becomes_the_next(written: Any) -> None:
    assert written["producer"]["draft"] == ["v2", ["data/a.txt", "data/added.txt"]]
    assert written["reader"]["draft"] == ["data/a.txt", "data/added.txt"]


def test_artifacts_are_used_by_alias_version_and_digest(written: Any) -> None:
    assert written["consumer"]["used"] == ["v0", "v1", "v0"]


def test_artifacts_are_linked(written: Any, api: wandb.Api) -> None:
    assert written["consumer"]["linked"] == ["approved:v0", ["latest", "prod"], True, "v0"]
    linked = api.artifact(f"{PROJECT}-models/approved:prod")
    assert (linked.source_project, linked.source_name) == (PROJECT, "ds:v0")


def test_a_registry_holds_links_of_the_types_it_takes(written: Any) -> None:
    registry = written["registry"]
    assert registry["made"] == ["data", "wandb-registry-data", "sandbox", ["dataset"]]
    target, aliases, source = registry["linked"]
    assert target == "sandbox-org/wandb-registry-data/curated:v0"
    assert (aliases, source) == (["gold", "latest"], f"ann/{PROJECT}/ds:v1")
    assert "takes no artifacts of type 'run_table'" in registry["refused"]


def test_a_registry_is_searched(written: Any) -> None:
    registry = written["registry"]
    assert registry["listed"] == ["data"]
    assert registry["collections"] == ["curated"]
    assert registry["versions"] == ["curated:v0"]
    assert registry["again"] == "ds:v1"


def test_downloads_are_what_was_logged_and_verify(written: Any) -> None:
    assert written["reader"]["downloaded"] == {"data/a.txt": md5_hex("one"), "data/b.txt": md5_hex("two")}


def test_references_stay_references(written: Any) -> None:
    references = written["reader"]["references"]
    assert references["object"] == "hdfs://bucket/key"
    assert references["page"] == "https://example.org/x"
    assert references["local.txt"].startswith("file://")
    assert references["other"].startswith("wandb-artifact://")
    assert (written["reader"]["local"], written["reader"]["other"]) == ("referred to", "one")


def test_images_in_tables_come_back(written: Any) -> None:
    pixels = [
        [[12 * row + 3 * column + channel for channel in range(3)] for column in range(4)] for row in range(4)
    ]
    assert written["reader"]["table"] == [[1, pixels], [2, pixels]]


def test_changes_by_the_public_api_arrive(written: Any, api: wandb.Api) -> None:
    artifact = api.artifact(f"{PROJECT}/ds:fresh")
    assert artifact.version == "v0"
    assert artifact.description == "better"
    assert artifact.metadata == {"rows": 4}
    assert sorted(artifact.tags) == ["clean", "raw"]
    assert sorted(artifact.aliases) == ["best", "fresh"]
    collection = api.artifact_collection("dataset", f"{PROJECT}/renamed")
    assert (collection.description, list(collection.tags)) == ("pointers", ["outside"])


def test_deleted_versions_and_collections_are_gone(written: Any, api: wandb.Api) -> None:
    assert "aliases" in written["reader"]["refused"]
    assert [artifact.version for artifact in api.artifacts("dataset", f"{PROJECT}/ds")] == ["v2", "v0"]
    assert not api.artifact_exists(f"{PROJECT}/ds:v1")
    assert not api.artifact_collection_exists(f"{PROJECT}/run-producer-table", "run_table")


def test_types_and_collections_are_listed(written: Any, api: wandb.Api) -> None:
    assert {kind.name for kind in api.artifact_types(PROJECT)} == {"dataset", "run_table"}
    collections = api.artifact_collections(PROJECT, "dataset")
    assert len(collections) == 2
    assert {collection.name for collection in collections} == {"ds", "renamed"}
    kind = api.artifact_type("dataset", PROJECT)
    assert [found.name for found in kind.collections(order="-name")] == ["renamed", "ds"]
    assert [found.name for found in kind.collections(filters={"name": {"$regex": "^d"}})] == ["ds"]


def test_lineage_is_known_from_both_ends(written: Any, api: wandb.Api) -> None:
    artifact = api.artifact(f"{PROJECT}/ds:v0")
    creator = artifact.logged_by()
    assert creator is not None
    assert creator.id == "producer"
    assert [run.id for run in artifact.used_by()] == ["consumer"]
    made = {item.name for item in api.run(f"{PROJECT}/producer").logged_artifacts()}
    assert made == {"ds:v0", "ds:v2", "renamed:v0"}
    assert {item.name for item in api.run(f"{PROJECT}/consumer").used_artifacts()} == {"ds:v0"}


def test_files_of_an_artifact_are_listed(written: Any, api: wandb.Api) -> None:
    files = api.artifact(f"{PROJECT}/ds:v0").files()
    assert {file.name: file.size for file in files} == {"data/a.txt": 3, "data/b.txt": 3}
