"""Values in nested objects by dotted names, as W&B writes them: ``optimizer.beta``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engine.records import Json

NOTHING: Final = object()
"""What is at a name that is not there."""


def value_at(values: Mapping[str, Json], name: str) -> Json:
    """What is there under this very name, or else at the path that it is; ``NOTHING`` if neither."""
    found = values.get(name, NOTHING)
    if found is not NOTHING or "." not in name:
        return found
    inner: Json = values
    for part in name.split("."):
        if not isinstance(inner, dict) or part not in inner:
            return NOTHING
        inner = inner[part]
    return inner
