"""Fills a server with the official SDK: ``python -m tests.importers.sdk_project DIR``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import wandb

from tests.sandbox.sdk_media import log_media

PROJECT = "trained"
VERSIONS = 4
ENTITY = "ann"


def training(directory: Path) -> None:
    """A run with a bit of everything that the switches of an import tell apart."""
    directory.joinpath("diff.patch").write_text("+ new\n")
    directory.joinpath("notes.txt").write_text("kept")
    directory.joinpath("code").mkdir()
    directory.joinpath("code", "train.py").write_text("print()")
    with wandb.init(project=PROJECT, id="training", name="first", tags=["small"], config={"lr": 0.1}) as run:
        for step in range(10):
            run.log({"loss": 1 / (1 + step), "nested": {"x": step}})
        run.save("diff.patch")
        run.save("notes.txt")
        run.save("code/train.py", base_path=".")
        print("to stdout")


def versions() -> None:
    for number in range(VERSIONS):
        with wandb.init(project=PROJECT, id=f"maker-{number}") as run:
            artifact = wandb.Artifact("data", "dataset", metadata={"number": number})
            with artifact.new_file("deep/values.txt") as file:
                file.write(str(number))
            with artifact.new_file("same.txt") as file:
                file.write("same")
            run.log_artifact(artifact).wait()


def reports() -> None:
    import wandb_workspaces.reports.v2 as wr  # warns, which is an error where tests import this module

    for title in ("First", "Second"):
        grid = wr.PanelGrid(
            runsets=[wr.Runset(project=PROJECT, entity=ENTITY)], panels=[wr.LinePlot(y=["loss"])]
        )
        wr.Report(project=PROJECT, entity=ENTITY, title=title, blocks=[wr.H1(title), grid]).save()


def main(directory: Path) -> None:
    os.chdir(directory)
    log_media(directory, PROJECT)
    training(directory)
    versions()
    reports()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
