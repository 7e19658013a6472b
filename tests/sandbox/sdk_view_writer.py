"""Saves reports and workspaces with wandb-workspaces, and runs a sweep with the official SDK.

Run as ``python -m tests.sandbox.sdk_view_writer DIR``; ``DIR/report.json`` says what they read back.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

PROJECT = "sdk-views"
ENTITY = "ann"


def main(directory: Path) -> None:
    os.chdir(directory)
    wandb.Api().create_project(PROJECT, ENTITY)
    report = {"report": a_report(), "workspace": a_workspace(), "sweep": a_sweep()}
    (directory / "report.json").write_text(json.dumps(report))


def a_report() -> dict[str, Any]:
    plot = wr.LinePlot(x="Step", y=["loss"])
    blocks = [wr.H1("Heading"), wr.P("Text"), wr.MarkdownBlock("*more*"), wr.PanelGrid(panels=[plot])]
    report = wr.Report(project=PROJECT, entity=ENTITY, title="First title", description="why", blocks=blocks)
    report.save()
    again = wr.Report.from_url(report.url)
    again.title = "Second title"
    again.save()
    final = wr.Report.from_url(report.url)
    listed = [view.display_name for view in wandb.Api().reports(f"{ENTITY}/{PROJECT}")]
    short_lived = wr.Report(project=PROJECT, entity=ENTITY, title="Gone soon")
    short_lived.save()
    short_lived.delete()
    return {
        "url": report.url,
        "title": final.title,
        "description": final.description,
        "blocks": [type(block).__name__ for block in final.blocks],
        "listed": listed,
        "listed at last": [view.display_name for view in wandb.Api().reports(f"{ENTITY}/{PROJECT}")],
    }


def a_workspace() -> dict[str, Any]:
    section = ws.Section(name="Curves", panels=[wr.LinePlot(x="Step", y=["loss"])])
    workspace = ws.Workspace(entity=ENTITY, project=PROJECT, name="My view", sections=[section])
    workspace.save()
    again = ws.Workspace.from_url(workspace.url)
    return {"name": again.name, "sections": [section.name for section in again.sections]}


def a_sweep() -> dict[str, Any]:
    config = {
        "name": "grid of two",
        "method": "grid",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"lr": {"values": [0.1, 0.2]}, "layers": {"value": 3}},
    }
    sweep_id = wandb.sweep(config, project=PROJECT, entity=ENTITY)
    seen = []

    def train() -> None:
        with wandb.init() as run:
            seen.append({"config": dict(run.config), "sweep": run.sweep_id, "id": run.id})
            run.log({"loss": run.config.lr})

    wandb.agent(sweep_id, train, project=PROJECT, entity=ENTITY, count=1)
    sweep = wandb.Api().sweep(f"{ENTITY}/{PROJECT}/{sweep_id}")
    best = sweep.best_run()
    return {
        "id": sweep_id,
        "seen": seen,
        "state": sweep.state,
        "method": sweep.config["method"],
        "expected": sweep.expected_run_count,
        "runs": [[run.id, run.state, dict(run.config)] for run in sweep.runs],
        "best": best.id if best else None,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
