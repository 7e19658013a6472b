"""The public API: read, analyse and mend what a W&B server has, in the words of its SDK.

async with engine.Api() as api:
    run = await api.run("entity/project/run_id")
    table = await run.history_table()
"""

from engine.wandb.api.api import Api
from engine.wandb.api.artifacts import Artifact, Collection
from engine.wandb.api.files import File
from engine.wandb.api.reports import Report
from engine.wandb.api.run import Run
from engine.wandb.api.runs import Runs
from engine.wandb.api.sampling import Sample
from engine.wandb.api.sweeps import Sweep
from engine.wandb.api.table import HistoryTable
from engine.wandb.api.update import Change

__all__ = [
    "Api",
    "Artifact",
    "Change",
    "Collection",
    "File",
    "HistoryTable",
    "Report",
    "Run",
    "Runs",
    "Sample",
    "Sweep",
]
