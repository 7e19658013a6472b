"""What people make of runs: reports, saved views and sweeps, and what a side offers so that they are moved.

Sweeps are moved before the runs, as a run is told on its creation which sweep it belongs to; views after all
else, as they point at it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from engine.protocols import Reader
from engine.records import Json, Namespace, Project, Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A search over parameters, to which runs belong.

    Attributes:
        id: by which runs name it.
        state: the source's word.
        config: as the source keeps it, a text in YAML.
    """

    namespace: Namespace
    id: str
    config: str
    name: str | None = None
    description: str | None = None
    state: str | None = None
    user: str | None = None
    created_at: int | None = None

    def __str__(self) -> str:
        return f"sweep {self.namespace}/{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A page over runs.

    Attributes:
        id: at the source.
        kind: the source's word: ``runs`` is a report, ``runs/draft`` a draft of one, ``project-view`` a saved
            view of a workspace.
        name: tells the views of a project apart, and stays the same when the title changes.
        spec: what it shows, and how.
        parent_id: of a draft, the report.
        artifacts: how the spec names artifact versions by ids that only the source knows, and URIs with their
            projects, names and numbers instead.
        files: addresses in the spec of files that the source can read, and their locators.
    """

    namespace: Namespace
    id: str
    kind: str
    name: str
    spec: Mapping[str, Json] = field(repr=False)
    title: str | None = None
    description: str | None = None
    user: str | None = None
    parent_id: str | None = None
    created_at: int | None = None
    updated_at: int | None = None
    artifacts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{_WORDS.get(self.kind, self.kind)} {self.namespace}/{self.title or self.name}"


_WORDS = {"runs": "report", "runs/draft": "draft", "project-view": "saved view"}


@runtime_checkable
class ReportSource(Protocol):
    """What a source is too if it has sweeps and views."""

    def sweeps(self, project: Project) -> AsyncGenerator[Sweep]: ...

    def views(self, project: Project) -> AsyncGenerator[View]:
        """All views of a project that can be anywhere else; drafts come after their reports."""
        ...


@runtime_checkable
class ReportDestination(Protocol):
    """What a destination is too if it takes them."""

    def adopt_sweep(self, sweep: Sweep, note: Json) -> None:
        """Hear of a sweep that arrived before and did not change, so that runs that come later find it.

        Args:
            note: of the receipt that it got then.
        """
        ...

    async def write_sweep(self, sweep: Sweep, namespace: Namespace) -> Receipt:
        """Make a sweep that nobody can go on with, unless it is there; runs that come later find it."""
        ...

    def view_writer(self, places: Mapping[Namespace, Namespace], read: Reader) -> ViewWriter:
        """What writes the views of a transfer.

        Args:
            places: where projects went, so that views point there.
            read: reads files of the source.
        """
        ...


class ViewWriter(Protocol):
    async def write(self, view: View, note: Json | None, *, last: bool) -> Receipt | None:
        """Make a view, unless it is already what was last written; None if it has to be written again.

        That is when it points at views that are not there yet. What people changed at the destination is
        never written over.

        Args:
            note: of the receipt that it last got, None if it never got one.
            last: whether all views were written once.

        Raises:
            Conflict: it has to change, and somebody changed it at the destination.
        """
        ...
