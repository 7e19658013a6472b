"""All of W&B: the wire protocol, and what it makes of runs, histories and artifacts."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.wandb.destination import WandbDestination
    from engine.wandb.source import WandbSource
    from engine.wandb.system import SYSTEM

__all__ = ["SYSTEM", "WandbDestination", "WandbSource"]

_HOMES = {
    "SYSTEM": "engine.wandb.system",
    "WandbDestination": "engine.wandb.destination",
    "WandbSource": "engine.wandb.source",
}
"""Where each of these is defined."""


def __getattr__(name: str) -> object:
    """What is asked for is loaded then: who only reads through ``engine.Api`` needs none of it."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
