"""What a request may use."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from engine.sandbox.accounts.accounts import User
from engine.sandbox.database import Database
from engine.sandbox.storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Call:
    """One request: who asks, and the stores that answer.

    Attributes:
        user: the owner of the API key.
        base_url: scheme, host and port under which the caller reaches the sandbox, without a slash.
        counters: requests by kind since the start.
    """

    db: Database
    objects: ObjectStore
    user: User
    base_url: str
    counters: Counter[str]


CALL: Final = web.RequestKey("call", Call)
"""Where an authenticated request keeps its ``Call``."""
