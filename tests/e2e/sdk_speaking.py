"""Fills a server with runs that speak of artifacts, by the official SDK.

Run as ``python -m tests.e2e.sdk_speaking DIR``. They speak of their own tables, of the latest version of a
collection, and of a version of another project.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import wandb

DRAWN, BORROWED = "drawn", "borrowed"
"""The projects."""


def main(directory: Path) -> None:
    os.chdir(directory)
    with wandb.init(project=DRAWN, id="draws") as run:
        for number in range(2):
            pixels = np.full((4, 4, 3), number, np.uint8)
            table = wandb.Table(columns=["n", "image"], data=[[number, wandb.Image(pixels)]])
            run.log({"table": table})
        tables = wandb.Artifact("tables", "dataset")
        tables.add(wandb.Table(columns=["id"], data=[[17]]), "kept")
        run.log_artifact(tables).wait()
    with wandb.init(project=BORROWED, id="borrows") as run:
        used = run.use_artifact(f"{DRAWN}/tables:latest")
        run.log({"theirs": used.get("kept"), "mine": wandb.Table(columns=["x"], data=[[1]])})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
