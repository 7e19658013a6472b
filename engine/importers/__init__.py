"""The calls that W&B documented for its own importers, on top of this engine.

A script that used ``wandb.apis.importers`` runs with ``engine.importers`` in its import lines. What differs
is in ``docs/importers.md``.
"""

from __future__ import annotations

from engine.importers.mlflow import MlflowImporter, MlflowRun
from engine.importers.results import ImportFailures, ImportResult
from engine.importers.wandb import WandbImporter
from engine.records import Namespace

__all__ = [
    "ImportFailures",
    "ImportResult",
    "MlflowImporter",
    "MlflowRun",
    "Namespace",
    "WandbImporter",
]
