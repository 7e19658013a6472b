"""Session logs as they are read again, also while they are written and if their last line is not whole."""

from __future__ import annotations

import os
import socket
import time
from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from engine.records import Json, Loss
from engine.transfer.session_log import log_paths

SILENT_S = 60.0
"""A transfer tells of itself each second; on another machine it counts as dead after so long in silence."""

RATE_S = 60.0
"""What happens now is the mean of so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleSample:
    """A throttle at one moment. ``rate`` is None as long as nothing was rejected."""

    host: str
    endpoint: str
    rate: float | None
    slots: int
    in_flight: int
    sent: int
    rejected: int
    round_trip_s: float | None
    down_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Where a transfer stood; all counters are from its beginning."""

    at: float
    elapsed_s: float
    enumerating: bool = False
    runs_found: int = 0
    runs_done: int = 0
    runs_failed: int = 0
    runs_skipped: int = 0
    points: int = 0
    files: int = 0
    bytes: int = 0
    requests: int = 0
    waiting: tuple[str, ...] = ()
    throttles: tuple[ThrottleSample, ...] = ()
    losses: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What happens each second."""

    points: float
    files: float
    bytes: float
    requests: float
    runs: float


@dataclass(slots=True, kw_only=True)
class Session:
    """One transfer from its beginning to its end, as far as it is told.

    Attributes:
        began_at: Unix seconds, as are all times here.
        ended_at: None if it goes on, or died without a word.
        exit_status: as the command line gives it; None if it has none, or it is not known.
        error: what stopped it.
        running: whether it goes on.
        products: what the sides said they are.
    """

    source: str
    destination: str
    version: str
    pid: int
    host: str
    began_at: float
    command: str | None = None
    ended_at: float | None = None
    exit_status: int | None = None
    error: str | None = None
    running: bool = False
    products: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()
    samples: list[Sample] = field(default_factory=list)
    losses: Mapping[str, int] = field(default_factory=dict)
    loss_examples: list[Loss] = field(default_factory=list)

    @property
    def last(self) -> Sample:
        """Where it stands, or stood at its end."""
        return self.samples[-1] if self.samples else Sample(at=self.began_at, elapsed_s=0.0)

    @property
    def elapsed_s(self) -> float:
        return max(self.last.elapsed_s, (self.ended_at or self.last.at) - self.began_at)

    def take(self, event: Mapping[str, Json]) -> None:
        """Go on by an event, in the form of ``Event.as_json``; a thinned log may tell them out of order."""
        match event.get("type"):
            case "connected":
                sides = [event[side] for side in ("source", "destination")]
                self.products = (_product(sides[0]), _product(sides[1]))
                self.notes = tuple(note for side in sides for note in side.get("notes", ()))
            case "progress":
                insort(self.samples, _sample(event), key=lambda sample: sample.elapsed_s)
                self.losses = self.last.losses or self.losses
            case "loss":
                self._show(event["loss"])
            case "item_failed" if event.get("item") == "transfer":
                self.error = event["message"]
            case "stopped":
                self.ended_at, self.error = event["at"], event.get("message") or self.error
            case "finished":
                self.ended_at, self.exit_status = event["at"], event["exit_status"]
                self.losses = event.get("losses", {})
                for loss in event.get("loss_examples", ()):
                    self._show(loss)
            case _:
                pass

    def _show(self, loss: Mapping[str, Any]) -> None:
        if (example := Loss(**loss)) not in self.loss_examples:
            self.loss_examples.append(example)

    @property
    def end_in_words(self) -> str:
        """How it ended, for people."""
        if self.running:
            return "goes on"
        if self.exit_status is None and self.error is None:
            return "stopped at once" if self.ended_at else "killed, or the machine went down"
        match self.exit_status:
            case 0:
                return "all arrived"
            case 1:
                return "some items failed"
            case 130:
                return "interrupted"
            case _:
                return f"could not go on: {self.error}"

    def rates(self) -> Rates | None:
        """Of the last minute, None if nothing is known of it."""
        last = self.last
        earlier = next((s for s in self.samples if s.elapsed_s >= last.elapsed_s - RATE_S), last)
        seconds = last.elapsed_s - earlier.elapsed_s
        if seconds <= 0:
            return None
        return Rates(
            points=(last.points - earlier.points) / seconds,
            files=(last.files - earlier.files) / seconds,
            bytes=(last.bytes - earlier.bytes) / seconds,
            requests=(last.requests - earlier.requests) / seconds,
            runs=(last.runs_done - earlier.runs_done) / seconds,
        )


def read_sessions(state_dir: Path) -> list[Session]:
    """All sessions of which there are logs, oldest first."""
    found = []
    for path in log_paths(state_dir):
        session = session_of(map(_parsed, path.read_bytes().splitlines()))
        if session is not None:
            session.running = _is_running(session)
            found.append(session)
    return found


def session_of(events: Iterable[Mapping[str, Json]]) -> Session | None:
    """A session from its events; None if its beginning is not told."""
    session: Session | None = None
    for event in events:
        if session is not None:
            session.take(event)
        elif event.get("type") == "began":
            session = _begun(event)
    return session


def _parsed(line: bytes) -> Mapping[str, Json]:
    try:
        parsed = orjson.loads(line)
    except orjson.JSONDecodeError:  # the last line of a process that was killed, or that is being written
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _begun(event: Mapping[str, Any]) -> Session:
    return Session(
        source=event["source"],
        destination=event["destination"],
        version=event["version"],
        pid=event["pid"],
        host=event["host"],
        began_at=event["at"],
        command=event.get("command"),
    )


def _product(side: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (side["product"], side.get("version"))))


def _sample(event: Mapping[str, Any]) -> Sample:
    known = {name: event[name] for name in Sample.__slots__ if name in event}
    known["throttles"] = tuple(
        ThrottleSample(**{name: told.get(name) for name in ThrottleSample.__slots__})
        for told in event.get("throttles", ())
    )
    return Sample(**{**known, "waiting": tuple(event.get("waiting", ()))})


def _is_running(session: Session) -> bool:
    if session.ended_at is not None:
        return False
    if session.host != socket.gethostname():
        return time.time() - session.last.at < SILENT_S
    try:
        os.kill(session.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
