"""Moves machine-learning experiment data between MLflow servers, W&B servers and local archives."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


_HOMES = {
    "engine.errors": (
        "AuthError",
        "CommError",
        "ConfigError",
        "Conflict",
        "EngineError",
        "IntegrityError",
        "NotFound",
        "PreflightError",
        "Problem",
        "RateLimited",
        "Side",
        "Transient",
        "Unsupported",
    ),
    "engine.protocols": (
        "Destination",
        "Source",
        "System",
        "SystemOptions",
        "open_destination",
        "open_source",
    ),
    "engine.records": ("Namespace", "Selection"),
    "engine.transfer.engine": ("Engine",),
    "engine.transfer.options": ("Options", "Result"),
    "engine.transfer.planning.plan": ("Plan",),
    "engine.wandb.api": ("Api",),
}
"""Where each of these is defined."""


def __getattr__(name: str) -> object:
    """What is asked for is loaded then: few need all of it, and much of it takes long."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
