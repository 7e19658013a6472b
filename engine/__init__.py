"""Moves machine-learning experiment data between MLflow servers, W&B servers and local archives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import (
    AuthError,
    CommError,
    ConfigError,
    Conflict,
    EngineError,
    IntegrityError,
    NotFound,
    PreflightError,
    Problem,
    RateLimited,
    Side,
    Transient,
    Unsupported,
)
from engine.protocols import (
    Destination,
    Source,
    System,
    SystemOptions,
    open_destination,
    open_source,
)
from engine.records import Namespace, Selection
from engine.transfer.engine import Engine
from engine.transfer.options import Options, Result
from engine.transfer.planning.plan import Plan

if TYPE_CHECKING:
    from engine.wandb.api import Api

__version__ = "0.1.0"

__all__ = [
    "Api",
    "AuthError",
    "CommError",
    "ConfigError",
    "Conflict",
    "Destination",
    "Engine",
    "EngineError",
    "IntegrityError",
    "Namespace",
    "NotFound",
    "Options",
    "Plan",
    "PreflightError",
    "Problem",
    "RateLimited",
    "Result",
    "Selection",
    "Side",
    "Source",
    "System",
    "SystemOptions",
    "Transient",
    "Unsupported",
    "open_destination",
    "open_source",
]


def __getattr__(name: str) -> object:
    """``Api`` is loaded when it is first asked for: commands that don't need it start sooner."""
    if name == "Api":
        from engine.wandb.api import Api

        return Api
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
