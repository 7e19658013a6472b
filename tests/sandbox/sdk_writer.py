"""Writes runs with the official SDK, as training scripts do: ``python -m tests.sandbox.sdk_writer DIR``."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import wandb

from tests.sandbox.sdk_media import log_media

PROJECT = "sdk"


def training(directory: Path) -> dict[str, Any]:
    run = wandb.init(
        project=PROJECT,
        id="training",
        name="first try",
        group="sweep of one",
        job_type="train",
        notes="a note",
        tags=["baseline", "small"],
        config={"lr": 0.1, "layers": [64, 32], "optimizer": {"name": "adam", "beta": 0.9}},
    )
    run.define_metric("loss", summary="min")
    run.define_metric("val/*", step_metric="epoch")
    for step in range(6):
        run.log({"loss": [3, 1, 2, 5, 4, 6][step], "nested": {"x": step, "deep": {"y": -step}}})
    run.log({"bad": math.nan, "high": math.inf, "low": -math.inf}, step=10)
    run.log({"epoch": 1, "val/accuracy": 0.5})
    run.log({"histogram": wandb.Histogram([1, 2, 2, 3]), "image": wandb.Image(np.zeros((4, 4, 3), np.uint8))})
    print("to stdout")
    print("to stderr", file=sys.stderr)
    run.summary["extra"] = {"k": 1}
    (directory / "data").mkdir()
    (directory / "data" / "notes.txt").write_text("kept")
    run.save(directory / "data" / "notes.txt", base_path=directory)
    run.alert("attention", "the loss rises", level="WARN")
    run.config.update({"late": True})
    run.finish()
    return {"entity": run.entity, "url": run.url}


def resumed() -> list[int]:
    starts: list[int] = []
    for resume in ("allow", "allow", "must"):
        run = wandb.init(
            project=PROJECT, id="resumed", resume=resume, config={"a": 1} if not starts else None
        )
        starts.append(run.starting_step)
        print(f"process {len(starts)}")
        run.log({"value": len(starts)})
        run.log({"value": -len(starts)})
        run.finish()
    return starts


def refused(**arguments: Any) -> str:
    try:
        wandb.init(project=PROJECT, **arguments).finish()
    except wandb.errors.UsageError as error:
        return str(error)
    return "accepted"


def branched() -> None:
    with wandb.init(project=PROJECT, id="base") as run:
        for step in range(10):
            run.log({"x": step})
    with wandb.init(project=PROJECT, resume_from="base?_step=4") as run:
        run.log({"x": 100})
    with wandb.init(project=PROJECT, id="forked", fork_from="base?_step=3") as run:
        run.log({"x": 200})


def shared() -> None:
    with wandb.init(project=PROJECT, id="shared", settings=wandb.Settings(mode="shared")) as run:
        run.log({"x": 1})


def failing() -> None:
    run = wandb.init(project=PROJECT, id="failing")
    run.finish(exit_code=3)


def main(directory: Path) -> None:
    os.chdir(directory)
    report = {
        "training": training(directory),
        "resumed": resumed(),
        "never": refused(id="resumed", resume="never"),
        "must": refused(id="absent", resume="must"),
    }
    failing()
    if "--all" in sys.argv:
        branched()
        shared()
        report["media"] = log_media(directory, PROJECT)
    (directory / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
