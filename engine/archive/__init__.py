"""Archives: a directory that holds runs as Parquet, JSON and content-addressed files.

``docs/archive.md`` describes the layout.
"""

from __future__ import annotations

from engine.archive.destination import ArchiveDestination
from engine.archive.source import ArchiveSource
from engine.protocols import System

SYSTEM = System(source=ArchiveSource, destination=ArchiveDestination)

__all__ = ["SYSTEM", "ArchiveDestination", "ArchiveSource"]
