"""Moves machine-learning experiment data between MLflow servers, W&B servers and local archives."""

from __future__ import annotations

__version__ = "0.1.0"  # first: modules below tell it to servers

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
from engine.transfer.plan import Plan
from engine.wandb.api import Api

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
