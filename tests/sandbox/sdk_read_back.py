"""Reads a run with the official SDK and prints it as JSON: ``python -m tests.sandbox.sdk_read_back PATH``."""

from __future__ import annotations

import json
import sys
import tempfile

import wandb


def main(path: str) -> None:
    run = wandb.Api().run(path)
    with tempfile.TemporaryDirectory() as directory, run.file("data/notes.txt").download(directory) as file:
        notes = file.read()
    found = {
        "version": wandb.__version__,
        "state": run.state,
        "tags": run.tags,
        "config": dict(run.config),
        "nested": run.summary["nested"]["deep"]["y"],
        "steps": [row["_step"] for row in run.scan_history()],
        "loss": [row["loss"] for row in run.scan_history(keys=["_step", "loss"])],
        "sampled": len(run.history(samples=3, pandas=False)),
        "notes": notes,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
