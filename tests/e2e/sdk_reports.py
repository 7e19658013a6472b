"""Makes reports, a saved view and a sweep as people do, and tells what such a server has.

``python -m tests.e2e.sdk_reports fill|change|read FILE ENTITY PROJECT``, with the server in the environment;
``read`` leaves what it finds in FILE. Nothing of the engine is imported here.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws


def fill(entity: str, project: str) -> None:
    """Two reports, one of which links to the other, a draft, a saved view, and a sweep with two runs."""
    url = os.environ["WANDB_BASE_URL"]
    sweep = wandb.sweep(
        {
            "name": "a search",
            "method": "grid",
            "metric": {"name": "loss", "goal": "minimize"},
            "parameters": {"lr": {"values": [0.1, 0.2]}},
        },
        entity=entity,
        project=project,
    )

    def train() -> None:
        with wandb.init() as run:
            run.log({"loss": run.config.lr})

    wandb.agent(sweep, train, entity=entity, project=project, count=2)
    with wandb.init(entity=entity, project=project, id="alone") as run:
        run.log({"loss": 1.0})
        drawn = wandb.Table(columns=["x"], data=[[1]])
        run.log({"curve": wandb.plot_table(f"{entity}/curve", drawn, {"x": "x"})})
        artifact = wandb.Artifact("pictures", "media")
        with artifact.new_file("a.txt") as file:
            file.write("a")
        version = run.log_artifact(artifact).wait()
    picture = f"wandb-artifact://{base64.b64decode(version.id).hex()}/a.txt"
    table = wandb.Api().run(f"{entity}/{project}/alone").summary._json_dict["curve_table"]
    later = wr.Report(entity=entity, project=project, title="Appendix", blocks=[wr.P("more")])
    later.save()
    runs = wr.Runset(
        entity=entity,
        project=project,
        name="all",
        filters="Config('lr') == 0.1 and SummaryMetric('loss') < 1 and Tags('Tags') in ['baseline']",
        groupby=["config.lr"],
        order=[wr.OrderBy(wr.SummaryMetric("loss")), wr.OrderBy(wr.Config("lr"))],
    )
    panels = wr.PanelGrid(runsets=[runs], panels=_panels(entity))
    report = wr.Report(
        entity=entity,
        project=project,
        title="What we found",
        description="in short",
        blocks=[
            wr.H1("Heading"),
            wr.P(
                [
                    "See ",
                    wr.Link("the appendix", later.url),
                    " and ",
                    wr.Link("docs", "https://docs.wandb.ai"),
                ]
            ),
            wr.MarkdownBlock(
                f"A run: {url}/{entity}/{project}/runs/alone and one of [others]({url}/them/other)"
            ),
            wr.MarkdownBlock(
                f"By id: {picture}, by name: wandb-artifact://{entity}/{project}/pictures:v0/a.txt"
            ),
            wr.MarkdownBlock(f"As runs say it: {table['artifact_path']} {table['_latest_artifact_path']}"),
            panels,
        ],
    )
    report.save()
    wr.Report(entity=entity, project=project, title="Unfinished", blocks=[wr.P("to do")]).save(draft=True)
    section = ws.Section(name="Curves", panels=[wr.LinePlot(x="Step", y=["loss"])])
    ws.Workspace(entity=entity, project=project, name="My view", sections=[section]).save()


def _panels(entity: str) -> list[Any]:
    """Those that name metrics or keys of a config, each in its own way."""
    lr, loss = wr.Config("lr"), wr.SummaryMetric("loss")
    columns = [wr.ParallelCoordinatesPlotColumn(metric=metric) for metric in (lr, loss)]
    return [
        wr.LinePlot(x="Step", y=["loss"], groupby=lr),
        wr.CustomChart(chart_name=f"{entity}/curve"),
        wr.CustomChart(
            chart_name="wandb/line/v0",
            query={"summaryTable": {"tableKey": "curve_table"}},
            chart_fields={"x": "x", "y": "loss"},
        ),
        wr.CustomChart(
            chart_name="wandb/line/v0", query={"history": {"keys": ["loss"]}}, chart_fields={"y": "loss"}
        ),
        wr.ScatterPlot(x=lr, y=loss),
        wr.BarPlot(metrics=["loss"], groupby=lr),
        wr.ScalarChart(metric="loss"),
        wr.ParallelCoordinatesPlot(columns=columns),
        wr.ParameterImportancePlot(with_respect_to="loss"),
        wr.MediaBrowser(media_keys=["curve_table"]),
    ]


def change(entity: str, project: str) -> None:
    (listed,) = [
        view for view in wandb.Api().reports(f"{entity}/{project}") if view.display_name == "Appendix"
    ]
    report = wr.Report.from_url(listed.url)
    report.title = "Appendix, corrected"
    report.blocks = [wr.P("less")]
    report.save()


def read(entity: str, project: str) -> dict[str, Any]:
    api = wandb.Api()
    reports = {}
    for listed in api.reports(f"{entity}/{project}"):
        report = wr.Report.from_url(listed.url)
        blocks = [block._to_model().model_dump(by_alias=True, mode="json") for block in report.blocks]
        reports[listed.display_name] = {
            "name": listed.name,
            "url": listed.url,
            "description": report.description,
            "blocks": blocks,
        }
    runs = list(api.runs(f"{entity}/{project}", lazy=False))
    sweeps = {}
    for name in sorted({run.sweep_name for run in runs if run.sweep_name}):
        sweep = api.sweep(f"{entity}/{project}/{name}")
        sweeps[name] = {
            "config": sweep.config,
            "state": sweep.state,
            "runs": sorted(run.id for run in sweep.runs),
        }
    return {"reports": reports, "sweeps": sweeps, "runs": sorted(run.id for run in runs)}


def main(what: str, path: str, entity: str, project: str) -> None:
    os.chdir(tempfile.mkdtemp())
    if what == "read":
        Path(path).write_text(json.dumps(read(entity, project)))
    else:
        {"fill": fill, "change": change}[what](entity, project)


if __name__ == "__main__":
    main(*sys.argv[1:])
