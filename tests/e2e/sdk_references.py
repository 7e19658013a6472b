"""Logs references by the official SDK: ``python -m tests.e2e.sdk_references DIR URL BUCKET``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import wandb

PROJECT = "references"


def main(directory: Path, url: str, bucket: str) -> None:
    os.chdir(directory)
    for name in ("local", "altered"):
        (directory / f"{name}.txt").write_text(f"{name} text")
    with wandb.init(project=PROJECT, id="referring") as run:
        artifact = wandb.Artifact("refs", "dataset")
        for name in ("page", "altered-page", "gone-page"):
            artifact.add_reference(f"{url}/{name}", name=name)
        for name in ("local", "altered"):
            artifact.add_reference((directory / f"{name}.txt").as_uri(), name=f"{name}.txt")
        artifact.add_reference("file:///etc/hostname", name="unproven", checksum=False)
        artifact.add_reference(f"s3://{bucket}/object", name="object")
        artifact.add_reference("hdfs://cluster/key", name="foreign")
        artifact.add_reference("http://127.0.0.1:9/x", name="dead", checksum=False)
        with artifact.new_file("plain.txt") as file:
            file.write("a file")
        run.log_artifact(artifact).wait()
        other = wandb.Artifact("other", "dataset")
        other.add_reference(artifact.get_entry("plain.txt"), name="linked")
        run.log_artifact(other).wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
