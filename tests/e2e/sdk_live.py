"""A run that the official SDK writes to as it is told: ``python -m tests.e2e.sdk_live PROJECT ID``.

Of the lines that it reads, ``log N`` logs N rows, ``keep TEXT`` makes a file and an artifact of the text,
``finish`` ends the run. Each is answered when the SDK has taken it. Nothing of the engine is imported here.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import wandb


def main(project: str, run_id: str) -> None:
    os.chdir(tempfile.mkdtemp())
    settings = wandb.Settings(console="off", x_file_stream_transmit_interval=0.2)
    run = wandb.init(project=project, id=run_id, config={"lr": 0.1}, settings=settings)
    step = 0
    answer("ready")
    for line in sys.stdin:
        command, _, rest = line.strip().partition(" ")
        if command == "log":
            for _ in range(int(rest)):
                run.log({"loss": 1 / (step + 1), "step squared": step**2})
                step += 1
        elif command == "keep":
            Path("notes.txt").write_text(rest)
            run.save("notes.txt")
            artifact = wandb.Artifact("notes", "text")
            artifact.add_file("notes.txt")
            run.log_artifact(artifact).wait()
        else:
            run.finish()
        answer(command)


def answer(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
