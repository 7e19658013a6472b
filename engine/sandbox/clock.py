"""Times are integer milliseconds inside and ISO 8601 in UTC on the wire."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def to_wire(ms: int) -> str:
    """``2026-11-22T16:39:05Z``: whole seconds, as clients parse them."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_wire(text: str) -> int:
    """Milliseconds of an ISO 8601 date or time; one without a zone is UTC.

    Raises:
        ValueError: it is neither.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
