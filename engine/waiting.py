"""Waiting in one thread for what happens in another."""

from __future__ import annotations

from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")

LOOK_UP_EVERY_S = 0.2


def result_of(future: Future[T]) -> T:
    """The result of a future, or what it raises; Ctrl-C ends the wait in any program.

    Python only notices Ctrl-C when the wait for a lock is broken off. Libraries that handle signals
    themselves (polars, which MLflow imports where it is installed) make the system go on waiting instead.
    """
    while not future.done():
        wait([future], LOOK_UP_EVERY_S)
    return future.result()
