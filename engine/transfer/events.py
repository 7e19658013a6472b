"""The one stream of events that everything a person sees hangs on.

Events are frozen and hold plain values, so that ``--json`` can print them as they are.
``at`` is Unix seconds. Names and fields are a contract: add, never change.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import ClassVar

from engine.errors import EngineError, Problem
from engine.records import Json, Loss, SystemInfo
from engine.transfer.throttling.throttle import ThrottleState


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events."""

    type: ClassVar[str] = "event"
    at: float = field(default_factory=time.time)

    def as_json(self) -> dict[str, Json]:
        return {"type": self.type, **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected(Event):
    """Both sides answered; ``warnings`` are what was found that does not stand in the way."""

    type: ClassVar[str] = "connected"
    source: SystemInfo
    destination: SystemInfo
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDone(Event):
    """All parts of a run arrived."""

    type: ClassVar[str] = "run_done"
    run: str
    name: str | None
    destination: str
    points: int
    files: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFailed(Event):
    """One item did not arrive; the rest goes on.

    Attributes:
        item: what kind of item: ``run``, ``history``, ``files``, ``artifact`` or ``project``.
        subject: which one.
        kind: the class of the error.
        side: where it happened.
        message: what happened, and what to do about it.
    """

    type: ClassVar[str] = "item_failed"
    item: str
    subject: str
    kind: str
    side: str
    message: str
    run: str | None = None

    @classmethod
    def of(cls, item: str, subject: str, error: EngineError, *, run: str | None = None) -> ItemFailed:
        return cls(item=item, subject=subject, kind=error.kind, side=error.side, message=str(error), run=run)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRecorded(Event):
    """The first example of a kind of loss; the counts are in the result."""

    type: ClassVar[str] = "loss"
    loss: Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """Where the transfer stands; sent a few times a second.

    ``runs_found`` still grows while ``enumerating`` is true. ``waiting`` says what is waited for: servers
    that are down, a disk that is full. ``runs_skipped`` arrived in an earlier transfer. ``throttles`` has
    one entry for each host and class of endpoint that was asked, ``losses`` the values so far by kind.
    """

    type: ClassVar[str] = "progress"
    enumerating: bool
    runs_found: int
    runs_done: int
    runs_failed: int
    points: int
    files: int
    bytes: int
    requests: int
    elapsed_s: float
    waiting: tuple[str, ...] = ()
    runs_skipped: int = 0
    throttles: tuple[ThrottleState, ...] = ()
    losses: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Event):
    """The last event: ``exit_status`` as of the command line, ``loss_examples`` a few of each kind."""

    type: ClassVar[str] = "finished"
    runs_done: int
    runs_failed: int
    failures: int
    losses: dict[str, int]
    points: int
    files: int
    bytes: int
    requests: int
    elapsed_s: float
    exit_status: int
    runs_skipped: int = 0
    runs_live: int = 0
    loss_examples: tuple[Loss, ...] = ()
