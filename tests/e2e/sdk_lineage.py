"""Fills a server with artifacts by the official SDK: ``python -m tests.e2e.sdk_lineage DIR``."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import wandb

PROJECT = "lineage"


def version(name: str, kind: str, text: str, **said: Any) -> wandb.Artifact:
    artifact = wandb.Artifact(name, kind, **said)
    with artifact.new_file("deep/text.txt") as file:
        file.write(text)
    with artifact.new_file("same.txt") as file:
        file.write("the same in each version")
    return artifact


def produced() -> None:
    with wandb.init(project=PROJECT, id="producer") as run:
        for number in range(6):
            artifact = version(
                "ds", "dataset", f"ds {number}", description=f"number {number}", metadata={"n": number}
            )
            aliases = {0: ["first"], 3: ["best", "prod"]}.get(number, [])
            run.log_artifact(artifact, aliases=aliases, tags=[f"t{number}"]).wait()
        for number in range(4):
            run.log_artifact(version("late", "model", f"late {number}")).wait()
        run.log_artifact(wandb.Artifact("empty", "dataset")).wait()
        images = [[n, wandb.Image(np.full((4, 4, 3), n, np.uint8))] for n in range(2)]
        run.log({"table": wandb.Table(columns=["n", "image"], data=images)})
    with wandb.init(project=PROJECT, id="gone") as run:
        run.log_artifact(version("ds", "dataset", "of a run that is gone")).wait()
        run.log_artifact(version("orphan", "dataset", "of a run that is gone")).wait()


def referring(directory: Path) -> None:
    with wandb.init(project=PROJECT, id="referring") as run:
        artifact = wandb.Artifact("references", "dataset")
        (directory / "local.txt").write_text("referred to")
        artifact.add_reference((directory / "local.txt").as_uri(), name="local.txt")
        artifact.add_reference("hdfs://bucket/key", name="object")
        artifact.add_reference("https://example.org/x", name="page", checksum=False)
        other = wandb.Api().artifact(f"{PROJECT}/ds:v3")
        artifact.add_reference(other.get_entry("deep/text.txt"), name="other")
        with artifact.new_file("plain.txt") as file:
            file.write("not a reference")
        run.log_artifact(artifact).wait()
        # Named so that it is listed before what it refers to.
        chained = wandb.Artifact("a-chain", "dataset")
        again = wandb.Api().artifact(f"{PROJECT}/references:v0")
        chained.add_reference(again.get_entry("plain.txt"), name="linked")
        run.log_artifact(chained).wait()


def consumed() -> None:
    with wandb.init(project=PROJECT, id="consumer") as run:
        run.use_artifact("ds:v0")
        run.use_artifact("ds:best")
        run.use_artifact("late:v3")
    with wandb.init(project=PROJECT, id="trainer") as run:
        run.use_artifact("ds:best")
    # Only afterwards a run can still be told under which name it used something, and then always is.
    api = wandb.Api()
    trainer = api.run(f"{PROJECT}/trainer")
    for name, use_as in (("ds:v0", "training data"), ("ds:v0", "validation data"), ("late:v3", None)):
        trainer.use_artifact(api.artifact(f"{PROJECT}/{name}"), use_as=use_as)


def changed() -> None:
    """What people do later: versions go, others get another life."""
    api = wandb.Api()
    for name in ("ds:v1", "ds:v2", "late:v0", "late:v1", "late:v2"):
        api.artifact(f"{PROJECT}/{name}").delete(delete_aliases=True)
    kept = api.artifact(f"{PROJECT}/ds:v4")
    kept.ttl = timedelta(days=30)
    kept.save()
    # ``latest`` is an alias like any other, and may be on an old version, or on none.
    moved = api.artifact(f"{PROJECT}/ds:v5")
    moved.aliases.append("latest")
    moved.save()
    bare = api.artifact(f"{PROJECT}/references:v0")
    bare.aliases.remove("latest")
    bare.save()
    collection = api.artifact_collection("dataset", f"{PROJECT}/ds")
    collection.description, collection.tags = "all the numbers", ["curated", "small"]
    collection.save()
    api.run(f"{PROJECT}/gone").delete()


def main(directory: Path) -> None:
    os.chdir(directory)
    produced()
    referring(directory)
    consumed()
    changed()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
