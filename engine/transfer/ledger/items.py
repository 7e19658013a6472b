"""What a ledger keeps, in words: the items, their kinds and states. Nothing here needs a database."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from engine.errors import EngineError


class Kind(StrEnum):
    """What an item is."""

    PROJECT = "project"
    RUN = "run"
    HISTORY = "history"
    FILES = "files"
    ARTIFACT = "artifact"
    COLLECTION = "collection"
    SWEEP = "sweep"
    REPORT = "report"
    """A report, a draft of one, or a saved view."""
    HISTORY_RANGE = "history_range"
    """How far a history came that is not done."""
    OBJECT_PART = "object_part"
    """What was acknowledged of an object that goes in parts and is not done."""
    REFERENCE = "reference"
    """What rows that were read once speak of."""
    LINK = "link"
    """A version that is, or is being, linked into a portfolio."""


MEMOS = (Kind.HISTORY_RANGE, Kind.OBJECT_PART, Kind.REFERENCE, Kind.LINK)
"""Kinds that only serve to go on with a run; nothing is left of them when it is done."""


class State(StrEnum):
    """Where an item stands."""

    PENDING = "pending"
    """Under way, interrupted, or of a run that goes on at the source."""
    DONE = "done"
    """The destination acknowledged it."""
    FAILED = "failed"


RunKey: TypeAlias = tuple[str, str]
"""The path of its project at the source, and its id there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why something failed, free of secrets."""

    kind: str
    side: str
    message: str
    remedy: str | None = None

    @classmethod
    def of(cls, error: EngineError) -> Cause:
        return cls(kind=error.kind, side=error.side, message=error.message, remedy=error.remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that is moved, and how far it came.

    Attributes:
        project: at the source, as ``Namespace.path``.
        run: its id at the source; empty for a project.
        name: which of several of a kind, for example ``dataset/images:v3``.
        destination: where it goes; proof for one place is none for another.
        fingerprint: of the run that it is or belongs to, as the source listed it.
        content: of an artifact, the fingerprint of its entries.
        parts: of a run, the kinds of parts that are all done for this fingerprint.
        note: JSON of ``Receipt.note``.
        attempts: how many times it was begun; what is recorded is added to what was.
        cause: of a failure. A run that failed because of its parts has none of its own.
    """

    kind: Kind
    project: str
    run: str = ""
    name: str = ""
    state: State
    destination: str = ""
    fingerprint: str | None = None
    content: str | None = None
    parts: frozenset[str] = frozenset()
    note: str | None = None
    attempts: int = 0
    cause: Cause | None = None
    points: int = 0
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The id that a run of the source got at a place."""

    project: str
    run: str
    place: str
    id: str
