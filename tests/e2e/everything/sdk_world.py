"""Fills a server with one of everything, by the official SDK.

Run as ``python -m tests.e2e.everything.sdk_world DIR``. What other tests fill servers with is here too, so
that one transfer has to bring all of it at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import wandb

from tests.e2e import sdk_lineage
from tests.e2e.everything import sdk_media
from tests.wandb import sdk_source

ENTITY = "ann"
"""Who has the key."""

LINEAGE, TRAINED, OTHER = sdk_lineage.PROJECT, sdk_source.PROJECT, sdk_source.OTHER
MEDIA, REPORTED = sdk_media.PROJECT, "vision"
PROJECTS = (LINEAGE, TRAINED, OTHER, MEDIA, REPORTED)
RUNS = 14
"""In all projects."""

FLUSHED_S = 30
"""Until the rows of a run that is going to crash are at the server, at most."""


def across() -> None:
    """A run that has to do with artifacts of another project."""
    with wandb.init(project=MEDIA, id="across") as run:
        used = run.use_artifact(f"{LINEAGE}/ds:best")
        artifact = wandb.Artifact("derived", "dataset", metadata={"from": used.name})
        artifact.add_reference(used.get_entry("deep/text.txt"), name="text.txt")
        run.log_artifact(artifact).wait()
        # In the end only a row speaks of the other project.
        run.log({"borrowed": run.use_artifact(f"{LINEAGE}/run-producer-table:v0").get("table")})
        run.log({"borrowed": wandb.Table(columns=["x"], data=[[1]])})


def rewound() -> None:
    with wandb.init(project=OTHER, id="rewound") as run:
        for step in range(6):
            run.log({"value": step})
    with wandb.init(project=OTHER, resume_from="rewound?_step=2") as run:
        run.log({"value": -1})


def crashed(directory: Path) -> None:
    """A run whose machine went away: neither the process nor the service of the SDK says goodbye."""
    program = [sys.executable, "-m", __spec__.name, str(directory), "crashing"]
    # With a service of its own, not that of this process.
    environ = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    done = subprocess.run(program, env=environ, check=False, timeout=FLUSHED_S * 2)
    assert done.returncode == -signal.SIGKILL, done.returncode


def crashing() -> None:
    settings = wandb.Settings(x_file_stream_transmit_interval=0.1)
    run = wandb.init(project=OTHER, id="crashed", config={"fate": "sealed"}, settings=settings)
    for step in range(5):
        run.log({"value": step})
    print("the last words")
    api, ends = wandb.Api(), time.monotonic() + FLUSHED_S
    while api.run(f"{OTHER}/crashed").lastHistoryStep < 4:
        assert time.monotonic() < ends, "the rows do not arrive"
        time.sleep(0.1)
        api.flush()
    for thread in Path("/proc/self/task").iterdir():
        for child in (thread / "children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def main(directory: Path) -> None:
    os.chdir(directory)
    sdk_lineage.main(directory)
    sdk_source.everything(directory)
    sdk_source.long()
    sdk_source.resumed()
    rewound()
    sdk_media.media(directory)
    across()
    crashed(directory)
    # Only here: wandb-workspaces warns of its own old ways when it is loaded.
    from tests.e2e import sdk_reports

    sdk_reports.fill(ENTITY, REPORTED)


if __name__ == "__main__":
    if sys.argv[2:] == ["crashing"]:
        crashing()
    else:
        main(Path(sys.argv[1]))
