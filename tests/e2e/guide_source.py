"""What the examples of W&B's guide "Import and export data" need, written with the official SDK.

Run as ``python -m tests.e2e.guide_source DIR``; ``DIR/sweep`` then has the id of the sweep.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import wandb

ENTITY = "guide"
PROJECT = "export"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def main(directory: Path) -> None:
    os.chdir(directory)
    # As in a clone of a repository, which the client would find by itself.
    os.environ |= {"WANDB_GIT_COMMIT": COMMIT, "WANDB_GIT_REMOTE_URL": "https://example.com/code.git"}
    for number, name in enumerate(("foo", "bar", "baz")):
        trained(name, number)
    with wandb.init(project=PROJECT, id="reads", config={"experiment_name": "reads"}) as run:
        run.use_artifact("dataset:latest")
        run.log({"accuracy": 0.1, "val_acc": 0.1})
    (directory / "sweep").write_text(searched())
    reported()


def trained(name: str, number: int) -> None:
    run = wandb.init(
        project=PROJECT,
        id=name,
        name=f"{name}-run",
        tags=["kept"],
        config={"experiment_name": name, "lr": 0.1 * (number + 1), "layers": {"width": 64}},
        settings=wandb.Settings(x_stats_sampling_interval=0.2),
    )
    for step in range(30):
        run.log({"accuracy": (step + number) / 100, "loss": 1 / (step + 1)})
    run.log({"val_acc": 0.5 + number / 10})
    if number == 0:
        time.sleep(0.7)  # for system metrics, which come by the clock
        Path("model-best.h5").write_bytes(bytes(range(256)) * 8)
        Path("plot.png").write_bytes(b"\x89PNG")
        run.save("model-best.h5")
        run.save("plot.png")
        dataset = wandb.Artifact("dataset", "dataset", metadata={"rows": 3})
        with dataset.new_file("rows.csv") as file:
            file.write("a,b\n1,2\n")
        run.log_artifact(dataset).wait()
    run.finish()


def searched() -> str:
    config = {
        "method": "grid",
        "metric": {"name": "val_acc", "goal": "maximize"},
        "parameters": {"x": {"values": [1, 3, 2]}},
    }
    sweep_id = wandb.sweep(config, project=PROJECT, entity=ENTITY)

    def train() -> None:
        with wandb.init() as run:
            run.log({"val_acc": run.config["x"] / 10})
            Path("model.h5").write_text(f"x={run.config['x']}")
            run.save("model.h5")

    wandb.agent(sweep_id, train, project=PROJECT, entity=ENTITY, count=3)
    return str(sweep_id)


def reported() -> None:
    # Only here: it warns of its own old ways when it is loaded.
    import wandb_workspaces.reports.v2 as wr

    blocks = [wr.H1("Heading"), wr.P("Text"), wr.PanelGrid(panels=[wr.LinePlot(x="Step", y=["loss"])])]
    wr.Report(project=PROJECT, entity=ENTITY, title="What we found", description="why", blocks=blocks).save()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
