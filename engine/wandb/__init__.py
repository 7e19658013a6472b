"""All of W&B: the wire protocol, and what it makes of runs, histories and artifacts."""

from __future__ import annotations

from engine.protocols import System
from engine.wandb.destination import WandbDestination

SYSTEM = System(destination=WandbDestination)

__all__ = ["SYSTEM", "WandbDestination"]
