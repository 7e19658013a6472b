"""Runs W&B's last official MLflow importer; executed in an environment of its own.

Usage: old_importer.py TRACKING_URI BASE_URL ENTITY/PROJECT LIMIT, with the key in WANDB_API_KEY.
Limits, defaults and threads are the importer's own.
"""

from __future__ import annotations

import os
import sys

from wandb.apis.importers import Namespace
from wandb.apis.importers.mlflow import MlflowImporter


def main() -> None:
    tracking_uri, base_url, destination, limit = sys.argv[1:]
    importer = MlflowImporter(base_url, os.environ["WANDB_API_KEY"], tracking_uri)
    runs = importer.collect_runs(limit=int(limit))
    importer.import_runs(runs, namespace=Namespace.from_path(destination))


if __name__ == "__main__":
    main()
