"""A client in a hurry, so that bad days are lived through in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from engine import bodies, http
from engine.transfer.throttling import breaker
from engine.transfer.throttling.retry import DEFAULT_POLICY, RetryPolicy
from engine.wandb import client


@contextmanager
def in_a_hurry() -> Iterator[None]:
    """The engine's own patience, in a tenth of the time."""
    kept = DEFAULT_POLICY.base_s, DEFAULT_POLICY.cap_s
    # Frozen, and the default value of arguments, so that it can only be changed in place.
    for name, value in (("base_s", 0.03), ("cap_s", 2.0)):
        object.__setattr__(DEFAULT_POLICY, name, value)
    # Who asks a server for the first time does not insist, because it may be a wrong address;
    # here bad days begin at once.
    hello = RetryPolicy(attempts=20, base_s=0.03, cap_s=0.5)
    try:
        with (
            mock.patch.object(client, "_HELLO", hello),
            mock.patch.object(http, "READ_TIMEOUT_S", 1.0),
            mock.patch.object(bodies, "STALL_S", 1.0),
            mock.patch.object(breaker, "OPENS_AFTER_S", 0.3),
            mock.patch.object(breaker, "PROBE_FIRST_S", 0.1),
        ):
            yield
    finally:
        for name, value in zip(("base_s", "cap_s"), kept, strict=True):
            object.__setattr__(DEFAULT_POLICY, name, value)
