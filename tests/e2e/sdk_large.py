"""Logs very large artifacts with the official SDK: ``python -m tests.e2e.sdk_large many|huge DIR AMOUNT``.

``many`` makes one of AMOUNT small files, ``huge`` one with a file of AMOUNT bytes; each has a project of its
name.
"""

from __future__ import annotations

import sys
from pathlib import Path

import wandb

MANY, HUGE = "many", "huge"

HEAD, TAIL = b"begins", b"ends"


def many(directory: Path, files: int) -> None:
    """Files that differ, a hundred in each directory."""
    root = directory / "many"
    for number in range(files):
        path = root / f"{number // 100:04d}" / f"{number % 100:02d}.txt"
        if not number % 100:
            path.parent.mkdir(parents=True)
        path.write_text(f"file {number}")
    artifact = wandb.Artifact(MANY, "dataset")
    artifact.add_dir(str(root), policy="immutable", skip_cache=True)
    _log(artifact)


def huge(directory: Path, size: int) -> None:
    """A file of zeros between its first and its last bytes, which takes no room here."""
    path = directory / "huge.bin"
    with path.open("wb") as file:
        file.write(HEAD)
        file.truncate(size - len(TAIL))
        file.seek(0, 2)
        file.write(TAIL)
    artifact = wandb.Artifact(HUGE, "model")
    artifact.add_file(str(path), policy="immutable", skip_cache=True)
    _log(artifact)


def _log(artifact: wandb.Artifact) -> None:
    with wandb.init(project=artifact.name) as run:
        run.log_artifact(artifact).wait()


if __name__ == "__main__":
    {MANY: many, HUGE: huge}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
