"""Runs W&B's last official importer between two of its servers; executed in an environment of its own.

Usage: old_wandb_importer.py runs|artifacts SOURCE_URL DESTINATION_URL ENTITY/PROJECT
with the keys in SOURCE_KEY and DESTINATION_KEY. Limits, defaults and threads are the importer's own.
"""

from __future__ import annotations

import os
import sys

from wandb.apis.importers import Namespace
from wandb.apis.importers.wandb import WandbImporter


def main() -> None:
    part, source, destination, path = sys.argv[1:]
    importer = WandbImporter(source, os.environ["SOURCE_KEY"], destination, os.environ["DESTINATION_KEY"])
    if part == "runs":
        importer.import_runs(namespaces=[Namespace.from_path(path)])
    else:
        importer.import_artifact_sequences(namespaces=[Namespace.from_path(path)])


if __name__ == "__main__":
    main()
