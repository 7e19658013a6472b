"""The other streams of a run, line by line: system metrics (events) and console."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from engine.sandbox.database import Database, tables
from engine.sandbox.json_text import loads
from engine.sandbox.runs.history import thinned

tables(
    """
    CREATE TABLE IF NOT EXISTS lines (
        run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, stream TEXT NOT NULL, line INTEGER NOT NULL,
        content TEXT NOT NULL, PRIMARY KEY (run, stream, line)
    ) WITHOUT ROWID;
    """
)


class Stream(StrEnum):
    """Which lines."""

    EVENTS = "events"
    CONSOLE = "console"


def write(db: Database, run: int, stream: Stream, offset: int, contents: Sequence[str]) -> None:
    """Store lines from number ``offset`` on; a terminal that redraws itself rewrites earlier ones."""
    db.execute_many(
        "INSERT OR REPLACE INTO lines (run, stream, line, content) VALUES (?, ?, ?, ?)",
        ((run, stream, offset + i, content) for i, content in enumerate(contents)),
    )


def line_count(db: Database, run: int, stream: Stream) -> int:
    """The offset at which a writer goes on."""
    last: int | None = db.value("SELECT max(line) FROM lines WHERE run = ? AND stream = ?", (run, stream))
    return 0 if last is None else last + 1


def tail(db: Database, run: int, stream: Stream, count: int = 5) -> list[str]:
    """The last lines, oldest first."""
    rows = db.all(
        "SELECT content FROM lines WHERE run = ? AND stream = ? ORDER BY line DESC LIMIT ?",
        (run, stream, count),
    )
    return [row["content"] for row in reversed(rows)]


def sampled(db: Database, run: int, stream: Stream, samples: int) -> list[str]:
    """Lines thinned evenly to about ``samples``."""
    count = db.value("SELECT count(*) FROM lines WHERE run = ? AND stream = ?", (run, stream))
    rows = db.rows("SELECT content FROM lines WHERE run = ? AND stream = ? ORDER BY line", (run, stream))
    return [row["content"] for row in thinned(rows, count, samples)]


def numbered(
    db: Database,
    run: int,
    stream: Stream,
    *,
    start: int = 0,
    stop: int | None = None,
    limit: int,
    last: bool = False,
) -> list[tuple[int, str]]:
    """Up to ``limit`` lines with their numbers from ``start`` to before ``stop``; the last ones, if asked."""
    direction = "DESC" if last else "ASC"
    rows = db.all(
        f"""SELECT line, content FROM lines WHERE run = :run AND stream = :stream AND line >= :start
        AND (:stop IS NULL OR line < :stop) ORDER BY line {direction} LIMIT :limit""",  # noqa: S608
        {"run": run, "stream": stream, "start": start, "stop": stop, "limit": limit},
    )
    found = [(row["line"], row["content"]) for row in rows]
    return found[::-1] if last else found


_STAMPED = re.compile(
    r"(?P<error>ERROR )?(?P<stamp>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z?) (?P<text>.*)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of console output, taken apart.

    Attributes:
        level: ``error`` for stderr, else None.
    """

    number: int
    level: str | None
    timestamp: str | None
    line: str
    label: str | None = None

    @property
    def id(self) -> str:
        return str(self.number)


def console_line(number: int, content: str) -> LogLine:
    """Read a stored line: ``[ERROR ]<time> <text>``, a JSON object, or text without anything."""
    if content.startswith("{"):
        try:
            entry: Any = loads(content)
        except ValueError:
            entry = None
        if isinstance(entry, dict) and "content" in entry:
            return LogLine(number, entry.get("level"), entry.get("ts"), entry["content"], entry.get("label"))
    if found := _STAMPED.fullmatch(content):
        return LogLine(number, "error" if found["error"] else None, found["stamp"], found["text"])
    return LogLine(number, None, None, content)


def console_lines(numbered_lines: Iterable[tuple[int, str]]) -> list[LogLine]:
    """Several lines taken apart."""
    return [console_line(number, content) for number, content in numbered_lines]
