"""All of W&B: the wire protocol, and what it makes of runs, histories and artifacts."""

from __future__ import annotations

from engine.protocols import System
from engine.wandb.destination import WandbDestination
from engine.wandb.source import WandbSource

SYSTEM = System(source=WandbSource, destination=WandbDestination)

__all__ = ["SYSTEM", "WandbDestination", "WandbSource"]
