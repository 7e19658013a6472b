"""What is in a project."""

from __future__ import annotations

from engine.records import Namespace


class InProject:
    """Tells the parts of the project that it is in."""

    __slots__ = ()

    namespace: Namespace

    @property
    def entity(self) -> str:
        return self.namespace.entity

    @property
    def project(self) -> str:
        return self.namespace.project
