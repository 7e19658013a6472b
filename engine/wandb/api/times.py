"""Times as the API tells them."""

from __future__ import annotations

from datetime import datetime


def utc(text: str) -> str:
    """An ISO 8601 time with its zone; older servers leave out that it is UTC."""
    return text if datetime.fromisoformat(text).tzinfo is not None else f"{text}Z"
