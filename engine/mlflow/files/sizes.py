"""How long the histories of a file store are: lines are counted, not parsed."""

from __future__ import annotations

from pathlib import Path

from engine.mlflow.files.disk import Disk
from engine.mlflow.files.metrics import BLOCK


def lines_by_key(disk: Disk, metrics: Path) -> dict[str, int]:
    """Lines of each metric file below a run's ``metrics`` directory; a line is a point."""
    return {key: _lines(path) for key, path in disk.files(metrics)}


def _lines(path: Path) -> int:
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            count += block.count(b"\n")
            last = block[-1:]
    # The last line may lack its end.
    return count + (last != b"\n")
