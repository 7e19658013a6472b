"""What nodes of the graph have in common: an opaque id, and when they came, changed and were last alive."""

from __future__ import annotations

from typing import ClassVar

from engine.sandbox import clock
from engine.sandbox.graph import ids


class Node:
    """Something with a number of its own, which the outside knows by an opaque id."""

    __slots__ = ()

    typename: ClassVar[str]
    number: int

    @property
    def id(self) -> str:
        return ids.encode(self.typename, self.number)


class Dated:
    """Something that came into being."""

    __slots__ = ()

    created_ms: int

    @property
    def created_at(self) -> str:
        return clock.to_wire(self.created_ms)


class Changing(Dated):
    """Something that can change."""

    __slots__ = ()

    updated_ms: int

    @property
    def updated_at(self) -> str:
        return clock.to_wire(self.updated_ms)


class Alive:
    """Something that reports now and then."""

    __slots__ = ()

    heartbeat_ms: int

    @property
    def heartbeat_at(self) -> str:
        return clock.to_wire(self.heartbeat_ms)
