"""What a transfer did over time: its events, thinned so that a week of them fits into a megabyte.

A log is what ``--json`` prints, one event a line, without the events of single runs and items: those are in
the ledger. ``Progress`` comes once a second for the last minutes, before that at an interval that doubles
whenever the file has become too large. Counters only grow, so that a longer interval loses no amount.
Lines are appended and handed to the operating system one by one; whoever reads a log leaves out a last line
that is not whole, and finds no ``finished`` or ``stopped`` in the log of a process that died.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import RawIOBase
from itertools import islice
from pathlib import Path
from typing import ClassVar

import orjson

from engine.errors import EngineError
from engine.records import Json
from engine.transfer.events import Connected, Event, Finished, ItemFailed, LossRecorded, Progress

logger = logging.getLogger(__name__)

SESSIONS = "sessions"
"""The directory of the logs, in a state directory."""

LOGS = 100
"""Logs that are kept; the oldest go first."""

LIMIT = 960_000
"""Bytes of a log at most."""

EVERY_S = 1.0
RECENT_S = 120.0
"""So long nothing is thinned, for those who want to know what happens now."""

THROTTLES = 32
"""Throttles in one line at most, those that sent the most; presigned URLs can name any number of hosts."""

LISTED, TEXT = 200, 500
"""Entries of any list, and characters of any text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Began(Event):
    """The first line: who moves what.

    Attributes:
        source: URI without secrets, as the ledger has it.
        command: by which a person can do it again, without secrets.
    """

    type: ClassVar[str] = "began"
    source: str
    destination: str
    version: str
    pid: int
    host: str
    command: str | None = None

    @classmethod
    def by_me(cls, source: str, destination: str, command: str | None = None) -> Began:
        """By this process."""
        from engine import __version__  # not at the top, where the package is not complete yet

        return cls(
            source=source,
            destination=destination,
            version=__version__,
            pid=os.getpid(),
            host=socket.gethostname(),
            command=command,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Event):
    """The last line of a transfer that was left before its end; ``message`` says why, if that is known."""

    type: ClassVar[str] = "stopped"
    message: str | None = None


@dataclass(frozen=True, slots=True)
class _Kept:
    progress: Progress
    line: bytes


class SessionLog:
    """Keeps what is worth keeping of the events of one transfer, in memory and in a file.

    Args:
        limit: bytes at most.
    """

    def __init__(self, *, limit: int = LIMIT) -> None:
        self._limit = limit
        self._path: Path | None = None
        self._file: RawIOBase | None = None
        self._others: list[bytes] = []
        self._kept: list[_Kept] = []
        self._bytes = 0
        self._interval_s = EVERY_S
        self._latest: Progress | None = None
        self._losses = 0
        self.ended = False

    @property
    def samples(self) -> list[Progress]:
        """Progress over time, oldest first."""
        return [kept.progress for kept in self._kept]

    def see(self, event: Event) -> None:
        """Keep an event, or not."""
        match event:
            case Progress():
                self._latest = event
                if not self._kept or event.elapsed_s - self._kept[-1].progress.elapsed_s >= 0.9 * EVERY_S:
                    self._keep_progress(event)
            case Finished() | Stopped():
                self._flush()
                self._keep(event)
                self.ended = True
            case LossRecorded():
                self._losses += 1
                if self._losses <= LISTED:
                    self._keep(event)
            case Began() | Connected() | ItemFailed(item="transfer"):
                self._keep(event)
            case _:
                pass

    def open(self, path: Path) -> None:
        """Write what is kept to a file, too, from now on."""
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Without a buffer, so that nothing is left to be written when it is closed.
            self._file = path.open("ab", buffering=0)
            for line in (*self._others, *(kept.line for kept in self._kept)):
                self._file.write(line)
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Write what was held back."""
        self._flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _flush(self) -> None:
        latest = self._latest
        if latest is not None and (not self._kept or self._kept[-1].progress is not latest):
            self._keep_progress(latest)

    def _keep(self, event: Event) -> None:
        line = _line(event)
        self._others.append(line)
        self._append(line)

    def _keep_progress(self, event: Progress) -> None:
        busiest = sorted(event.throttles, key=lambda state: -state.sent)[:THROTTLES]
        kept = replace(event, throttles=tuple(busiest))
        line = _line(kept)
        self._kept.append(_Kept(kept, line))
        self._append(line)
        if self._latest is event:
            self._latest = kept

    def _append(self, line: bytes) -> None:
        self._bytes += len(line)
        if self._bytes > self._limit:
            self._thin()
            self._rewrite()
        elif self._file is not None:
            try:
                self._file.write(line)
            except OSError as error:
                self._give_up(error)

    def _thin(self) -> None:
        """Leave half of the room free, at the shortest interval at which that is possible."""
        while True:
            self._kept = _thinned(self._kept, self._interval_s)
            self._bytes = sum(map(len, self._others)) + sum(len(kept.line) for kept in self._kept)
            if self._bytes <= self._limit // 2 or len(self._kept) <= 2:
                return
            self._interval_s *= 2

    def _rewrite(self) -> None:
        """Put a thinned log in the place of the file; whoever reads sees the one or the other."""
        if self._file is None:
            return
        assert self._path is not None
        draft = self._path.with_suffix(".new")
        try:
            self._file.close()
            draft.write_bytes(b"".join((*self._others, *(kept.line for kept in self._kept))))
            draft.replace(self._path)
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        # The log is there to be looked at; the ledger, which has to be right, has its own word to say.
        logger.warning("the session log %s cannot be written: %s", self._path, error.strerror)
        if self._file is not None:
            self._file.close()
            self._file = None


@contextmanager
def session_log(state_dir: Path | None, began: Began) -> Generator[SessionLog]:
    """The log of a transfer that lives as long as the block; without a directory in memory only."""
    log = SessionLog()
    log.see(began)
    if state_dir is not None:
        log.open(_new_path(state_dir / SESSIONS, began))
    try:
        yield log
    except EngineError as error:
        log.see(Stopped(message=str(error)))
        raise
    finally:
        if not log.ended:
            log.see(Stopped())
        log.close()


def log_paths(state_dir: Path) -> list[Path]:
    """The logs of a state directory, oldest first."""
    return sorted((state_dir / SESSIONS).glob("*.jsonl"))


def _new_path(directory: Path, began: Began) -> Path:
    """A name that sorts by time; makes room for it."""
    for path in log_paths(directory.parent)[: -LOGS + 1]:
        path.unlink(missing_ok=True)
    moment = datetime.fromtimestamp(began.at, UTC)
    return directory / f"{moment:%Y%m%dT%H%M%S.%fZ}-{began.pid}.jsonl"


def _thinned(kept: list[_Kept], interval_s: float) -> list[_Kept]:
    """The first, the last, and between them those that are an interval apart, or recent."""
    if len(kept) <= 2:
        return kept
    first, *between, last = kept
    length_s = last.progress.elapsed_s - first.progress.elapsed_s
    # If the recent ones alone are too many, they are not spared.
    recent = last.progress.elapsed_s - (RECENT_S if interval_s < length_s else 0.0)
    result = [first]
    for one in between:
        elapsed_s = one.progress.elapsed_s
        if elapsed_s >= recent or elapsed_s - result[-1].progress.elapsed_s >= interval_s:
            result.append(one)
    return [*result, last]


def _line(event: Event) -> bytes:
    return orjson.dumps(_compact(event.as_json()), option=orjson.OPT_APPEND_NEWLINE, default=str)


def _compact(value: Json) -> Json:
    match value:
        case str():
            return value if len(value) <= TEXT else value[: TEXT - 1] + "…"
        case float():
            return round(value, 3)
        case dict():
            return {_compact(key): _compact(inner) for key, inner in islice(value.items(), LISTED)}
        case list() | tuple():
            return [_compact(inner) for inner in value[:LISTED]]
        case _:
            return value
