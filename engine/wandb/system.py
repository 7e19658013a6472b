"""W&B as one of the systems that URIs name."""

from __future__ import annotations

from engine.protocols import System
from engine.wandb.destination import WandbDestination
from engine.wandb.source import WandbSource

SYSTEM = System(source=WandbSource, destination=WandbDestination)
