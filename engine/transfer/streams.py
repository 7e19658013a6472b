"""What memory object streams lack."""

from __future__ import annotations

import sys
from typing import TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

T = TypeVar("T")


def waiting(stream: MemoryObjectReceiveStream[T], limit: int = sys.maxsize) -> list[T]:
    """All that can be had without waiting, ``limit`` at most."""
    found: list[T] = []
    while len(found) < limit:
        try:
            found.append(stream.receive_nowait())
        except (anyio.WouldBlock, anyio.EndOfStream):
            break
    return found
