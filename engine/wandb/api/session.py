"""What all objects of one ``Api`` share."""

from __future__ import annotations

from dataclasses import dataclass

from engine.transfer.context import Context
from engine.wandb.api.paths import Defaults
from engine.wandb.client import Identity, WandbClient


@dataclass(frozen=True, slots=True)
class Session:
    """An open connection, who uses it, and what a path means that leaves out its entity or project."""

    client: WandbClient
    context: Context
    identity: Identity
    defaults: Defaults
