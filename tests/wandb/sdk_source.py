"""Fills a server with the official SDK, as people do: ``python -m tests.wandb.sdk_source DIR``."""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import wandb

PROJECT = "trained"
OTHER = "other"


def everything(directory: Path) -> None:
    """A run with one of each."""
    run = wandb.init(
        project=PROJECT,
        id="everything",
        name="first try",
        group="pairs",
        job_type="train",
        notes="a *note*\nwith two lines",
        tags=["baseline", "small"],
        settings=wandb.Settings(x_stats_sampling_interval=0.2),
        config={
            "lr": 0.1,
            "layers": [64, 32],
            "optimizer": {"name": "adam", "value": {"value": 3, "desc": "kept"}},
            "none": None,
            "big": 2**70,
        },
    )
    run.define_metric("loss", summary="min")
    run.define_metric("val/*", step_metric="epoch")
    for step in range(12):
        run.log({"loss": 1 / (step + 1), "nested": {"x": step, "deep": {"y": -step}}, "n": 2**63 + step})
    run.log({"bad": math.nan, "high": math.inf, "low": -math.inf, "nothing": None}, step=100)
    run.log({"epoch": 1, "val/accuracy": 0.5, "dotted.key": 1, "text": "line\nline", "empty": ""}, step=200)
    run.log(
        {
            "histogram": wandb.Histogram([1, 2, 2, 3]),
            "image": wandb.Image(np.zeros((4, 4, 3), np.uint8), caption="black"),
            "table": wandb.Table(columns=["a", "b"], data=[[1, "x"], [2, "y"]]),
        },
        step=5_000,
    )
    time.sleep(0.7)  # for system metrics, which come by the clock
    print("to stdout")
    print("to stderr", file=sys.stderr)
    (directory / "data").mkdir()
    (directory / "data" / "notes.txt").write_text("kept")
    (directory / "data" / "nothing.bin").write_bytes(b"")
    run.save(directory / "data" / "*", base_path=directory)
    for number in range(3):
        artifact = wandb.Artifact("weights", "model", description="of the net", metadata={"n": number})
        with artifact.new_file("deep/w.bin", "wb") as file:
            file.write(bytes([number]) * 5_000)
        with artifact.new_file("empty") as file:
            file.write("")
        artifact.add_reference("s3://bucket/key", name="far", checksum=False)
        run.log_artifact(artifact, aliases=["best"] if number == 1 else [], tags=[f"t{number}"]).wait()
    run.finish()


def failed() -> None:
    run = wandb.init(project=PROJECT, id="failed")
    run.log({"x": 1})
    run.log({"x": 2})
    run.finish(exit_code=3)


def empty() -> None:
    wandb.init(project=PROJECT, id="empty").finish()


def long() -> None:
    with wandb.init(project=OTHER, id="long") as run:
        for step in range(1_300):
            run.log({"x": step, "y": step / 7})


def resumed() -> None:
    for value in range(2):
        with wandb.init(project=OTHER, id="resumed", resume="allow") as run:
            run.log({"value": value})


def main(directory: Path) -> None:
    os.chdir(directory)
    everything(directory)
    failed()
    empty()
    long()
    resumed()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
