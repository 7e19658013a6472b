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
import wave
from pathlib import Path

import numpy as np
import wandb

from tests.e2e import sdk_lineage
from tests.wandb import sdk_source

ENTITY = "ann"
"""Who has the key."""

LINEAGE, TRAINED, OTHER = sdk_lineage.PROJECT, sdk_source.PROJECT, sdk_source.OTHER
MEDIA, REPORTED = "media", "vision"
PROJECTS = (LINEAGE, TRAINED, OTHER, MEDIA, REPORTED)
RUNS = 14
"""In all projects."""

FLUSHED_S = 30
"""Until the rows of a run that is going to crash are at the server, at most."""


def media(directory: Path) -> None:
    """All kinds of media that need nothing but the SDK."""
    clip = _written(directory / "clip.gif", b"GIF89a" + bytes(30))
    water = _written(directory / "water.pdb", b"HETATM    1  O   HOH\nEND\n")
    mesh = _written(directory / "mesh.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with wandb.init(project=MEDIA, id="media", config={"kinds": "all"}) as run:
        run.log({"image": _masked(), "images": [wandb.Image(_pixels(n), caption=f"{n}") for n in range(3)]})
        run.log(
            {
                "audio": wandb.Audio(_sound(directory / "tone.wav"), caption="a tone"),
                "video": wandb.Video(clip, caption="a clip"),
                "molecule": wandb.Molecule(water, caption="water"),
                "mesh": wandb.Object3D(mesh),
                "points": wandb.Object3D(np.arange(12.0).reshape(4, 3)),
                "html": wandb.Html("<p>Größe: <b>1</b></p>"),
                "histogram": wandb.Histogram(np_histogram=([1, 0, 3], [0.0, 0.5, 1.0, 1.5])),
            }
        )
        rows = [[n, wandb.Image(_pixels(n)), f"row {n}", None if n else float("nan")] for n in range(3)]
        table = wandb.Table(columns=["id", "image", "text", "value"], data=rows, allow_mixed_types=True)
        run.log({"table": table, "deep": {"table": wandb.Table(columns=["x"], data=[[1], [2]])}})
        points = wandb.Table(columns=["x", "y"], data=[[n, n * n] for n in range(5)])
        run.log({"curve": wandb.plot.line(points, "x", "y", title="A curve")})
        _tables(run)


def _tables(run: wandb.Run) -> None:
    """Tables in artifacts: joined, in parts, and in other artifacts by reference."""
    left = wandb.Table(columns=["id", "image"], data=[[n, wandb.Image(_pixels(n))] for n in range(2)])
    right = wandb.Table(columns=["id", "label"], data=[[n, f"label {n}"] for n in range(2)])
    tables = wandb.Artifact("tables", "dataset")
    tables.add(left, "left")
    tables.add(right, "right")
    tables.add(wandb.data_types.JoinedTable(left, right, "id"), "joined")
    for part in range(2):
        tables.add(wandb.Table(columns=["id"], data=[[part]]), f"parts/{part}")
    tables.add(wandb.data_types.PartitionedTable("parts"), "whole")
    # A draft has no id of the server yet, so that this refers to it by the id that the client made up.
    follower = wandb.Artifact("follower", "dataset")
    follower.add(right, "borrowed")
    run.log_artifact(tables, aliases=["curated"]).wait()
    run.log_artifact(follower).wait()
    run.link_artifact(tables, f"{ENTITY}/{MEDIA}/picked", aliases=["chosen"])

    logged = run.use_artifact("tables:latest")
    joins = wandb.Artifact("joins", "dataset")
    joins.add(wandb.data_types.JoinedTable(logged.get("left"), logged.get("right"), "id"), "again")
    run.log_artifact(joins).wait()
    run.log({"joined": logged.get("joined"), "borrowed": logged.get("right")})


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


def _pixels(shade: int) -> np.ndarray:
    return np.full((6, 6, 3), shade * 40, np.uint8)


def _masked() -> wandb.Image:
    labels = {0: "nothing", 1: "something"}
    box = {
        "position": {"minX": 0.1, "maxX": 0.5, "minY": 0.2, "maxY": 0.8},
        "class_id": 1,
        "box_caption": "found",
        "scores": {"certainty": 0.9},
    }
    return wandb.Image(
        _pixels(5),
        caption="masked",
        masks={"truth": {"mask_data": np.eye(6, dtype=np.uint8), "class_labels": labels}},
        boxes={"found": {"box_data": [box], "class_labels": labels}},
        classes=wandb.data_types.Classes([{"id": number, "name": name} for number, name in labels.items()]),
    )


def _sound(path: Path) -> str:
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 1, 8_000, 0, "NONE", ""))
        sound.writeframes(bytes(range(200)))
    return str(path)


def _written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def main(directory: Path) -> None:
    os.chdir(directory)
    sdk_lineage.main(directory)
    sdk_source.everything(directory)
    sdk_source.long()
    sdk_source.resumed()
    rewound()
    media(directory)
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
