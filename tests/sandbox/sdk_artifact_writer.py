"""Logs, uses, links and deletes artifacts with the official SDK.

Run as ``python -m tests.sandbox.sdk_artifact_writer DIR``; ``DIR/report.json`` says what the SDK found out.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import wandb

PROJECT = "sdk-artifacts"


def main(directory: Path) -> None:
    os.chdir(directory)
    report = {"producer": producer(directory), "consumer": consumer()}
    report["registry"] = registry()
    report["reader"] = reader(directory)
    (directory / "report.json").write_text(json.dumps(report))


def dataset(directory: Path, **files: str) -> wandb.Artifact:
    artifact = wandb.Artifact("ds", "dataset", description="numbers", metadata={"rows": 3})
    for name, text in files.items():
        (directory / name).write_text(text)
        artifact.add_file(str(directory / name), name=f"data/{name}.txt")
    return artifact


def producer(directory: Path) -> dict[str, Any]:
    report: dict[str, Any] = {}
    with wandb.init(project=PROJECT, id="producer") as run:
        logged = run.log_artifact(dataset(directory, a="one", b="two"), aliases=["best"], tags=["raw"]).wait()
        report["first"] = [logged.version, sorted(logged.aliases), logged.digest]
        again = run.log_artifact(dataset(directory, a="one", b="two"), aliases=["again"]).wait()
        report["again"] = [again.version, sorted(again.aliases), again.digest]
        changed = run.log_artifact(dataset(directory, a="one", b="three")).wait()
        report["changed"] = [changed.version, sorted(changed.aliases)]

        draft = changed.new_draft()
        with draft.new_file("data/added.txt") as file:
            file.write("added")
        draft.remove("data/b.txt")
        report["draft"] = [run.log_artifact(draft).wait().version, sorted(draft.manifest.entries)]

        references = wandb.Artifact("refs", "dataset")
        (directory / "local.txt").write_text("referred to")
        references.add_reference((directory / "local.txt").as_uri(), name="local.txt")
        references.add_reference("hdfs://bucket/key", name="object")
        references.add_reference("https://example.org/x", name="page", checksum=False)
        references.add_reference(changed.get_entry("data/a.txt"), name="other")
        run.log_artifact(references).wait()

        image = wandb.Image(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
        run.log({"table": wandb.Table(columns=["n", "image"], data=[[1, image], [2, image]])})
    return report


def consumer() -> dict[str, Any]:
    with wandb.init(project=PROJECT, id="consumer") as run:
        by_alias = run.use_artifact("ds:best")
        by_version = run.use_artifact("ds:v1", type="dataset")
        by_digest = run.use_artifact(f"ds:{by_alias.digest}")
        linked = by_alias.link(f"{PROJECT}-models/approved", aliases=["prod"])
        return {
            "used": [by_alias.version, by_version.version, by_digest.version],
            "linked": [linked.name, sorted(linked.aliases), linked.is_link, linked.source_version],
        }


def registry() -> dict[str, Any]:
    api = wandb.Api()
    made = api.create_registry(
        organization="sandbox",
        name="data",
        visibility="organization",
        description="the good ones",
        artifact_types=["dataset"],
    )
    source = api.artifact(f"{PROJECT}/ds:v1")
    linked = source.link("wandb-registry-data/curated", aliases=["gold"])
    table = api.artifact(f"{PROJECT}/run-producer-table:v0")
    try:
        table.link("wandb-registry-data/tables")
    except Exception as error:  # noqa: BLE001  # whatever the SDK makes of the refusal
        refused = str(error)
    found = api.registries(organization="sandbox", filter={"name": "data"})
    return {
        "made": [made.name, made.full_name, made.organization, list(made.artifact_types)],
        "linked": [linked.qualified_name, sorted(linked.aliases), linked.source_qualified_name],
        "refused": refused,
        "listed": [registry.name for registry in found],
        "collections": [collection.name for collection in found.collections(filter={"name": "curated"})],
        "versions": [version.name for version in found.versions()],
        "again": api.artifact("wandb-registry-data/curated:gold").source_name,
    }


def reader(directory: Path) -> dict[str, Any]:
    """What another process of the SDK downloads and changes."""
    api = wandb.Api()
    report: dict[str, Any] = {}
    artifact = api.artifact(f"{PROJECT}/ds:best")
    root = Path(artifact.download(root=str(directory / "downloaded")))
    artifact.verify(root=str(root))
    report["downloaded"] = {
        str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }
    draft_root = Path(api.artifact(f"{PROJECT}/ds:v2").download(root=str(directory / "draft")))
    report["draft"] = sorted(str(p.relative_to(draft_root)) for p in draft_root.rglob("*") if p.is_file())
    references = api.artifact(f"{PROJECT}/refs:latest")
    report["references"] = {name: entry.ref for name, entry in references.manifest.entries.items()}
    report["local"] = Path(references.get_entry("local.txt").download(str(directory / "refs"))).read_text()
    report["other"] = Path(references.get_entry("other").download(str(directory / "refs"))).read_text()
    table = api.artifact(f"{PROJECT}/run-producer-table:v0").get("table")
    report["table"] = [[row[0], np.asarray(row[1].image).tolist()] for row in table.data]

    artifact.description = "better"
    artifact.metadata["rows"] = 4
    artifact.aliases += ["fresh"]
    artifact.aliases.remove("again")
    artifact.tags += ["clean"]
    artifact.save()
    collection = api.artifact_collection("dataset", f"{PROJECT}/refs")
    collection.name, collection.description, collection.tags = "renamed", "pointers", ["outside"]
    collection.save()
    api.artifact(f"{PROJECT}/ds:v1").delete(delete_aliases=True)
    try:
        api.artifact(f"{PROJECT}/ds:latest").delete()
    except Exception as error:  # noqa: BLE001  # whatever the SDK makes of the refusal
        report["refused"] = str(error)
    api.artifact_collection("run_table", f"{PROJECT}/run-producer-table").delete()
    return report


if __name__ == "__main__":
    main(Path(sys.argv[1]))
