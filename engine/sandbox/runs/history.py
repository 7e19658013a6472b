"""Histories: the rows that a run logs, stored line by line as they came.

A line has the number that the writer gave it by ``offset``, so that sending it again changes nothing. Its
``_step`` is indexed beside it; steps and line numbers are independent. What keys there are, and of
what types, is counted as lines arrive.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, Generic, NamedTuple, TypeVar

from engine.sandbox.database import Database, tables
from engine.sandbox.graph.filters import MISSING, dotted
from engine.sandbox.json_text import loads, strict
from engine.sandbox.refusals import bad_request

tables(
    """
    CREATE TABLE IF NOT EXISTS history (
        run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, line INTEGER NOT NULL, step INTEGER,
        row TEXT NOT NULL, PRIMARY KEY (run, line)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS history_by_step ON history (run, step);
    CREATE TABLE IF NOT EXISTS history_keys (
        run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, key TEXT NOT NULL, type TEXT NOT NULL,
        count INTEGER NOT NULL, PRIMARY KEY (run, key, type)
    ) WITHOUT ROWID;
    """
)

T = TypeVar("T")

LINE_MAX = 10 * 1024 * 1024 - 100 * 1024
"""Bytes of a line; the SDK drops longer ones with a warning."""

SLICE_S = 0.005
"""How long a scan reads before others get their turn."""

SAMPLES = 500
"""Rows that a reader gets who does not say how many."""


class Steps(NamedTuple):
    """A range of steps; None leaves a side open. ``stop`` is exclusive.

    A range begins with line ``first_line``, before which all is exported.
    """

    start: int | None = None
    stop: int | None = None
    first_line: int = 0

    def sql(self) -> tuple[str, dict[str, int | None]]:
        """A condition and its parameters."""
        conditions = ["run = :run"]
        if self.first_line and self.bounded:
            conditions.append("line >= :first_line")
        if self.start is not None:
            conditions.append("step >= :start")
        if self.stop is not None:
            conditions.append("step < :stop")
        return " AND ".join(conditions), {
            "start": self.start,
            "stop": self.stop,
            "first_line": self.first_line,
        }

    @property
    def bounded(self) -> bool:
        return self.start is not None or self.stop is not None


def parse_row(text: Any) -> dict[str, Any]:
    """One line of a history as an object.

    Raises:
        Refusal: 400, it is no JSON object or too long.
    """
    if not isinstance(text, str) or len(text.encode()) > LINE_MAX:
        raise bad_request(f"a line must be a text of at most {LINE_MAX} bytes")
    try:
        row = loads(text)
    except ValueError as error:
        raise bad_request(f"a line is not JSON: {error}: {text[:80]}") from error
    if not isinstance(row, dict):
        raise bad_request(f"a line is not a JSON object: {text[:80]}")
    return row


def write(db: Database, run: int, offset: int, lines: Sequence[str]) -> None:
    """Store lines from number ``offset`` on; lines that are there already are replaced.

    Raises:
        Refusal: 400, a line is no JSON object; nothing is stored then.
    """
    rows = [parse_row(line) for line in lines]
    counts = _tally(rows)
    if offset < line_count(db, run):
        replaced = db.rows(
            "SELECT row FROM history WHERE run = ? AND line >= ? AND line < ?",
            (run, offset, offset + len(rows)),
        )
        counts.subtract(_tally(loads(row["row"]) for row in replaced))
    db.execute_many(
        "INSERT OR REPLACE INTO history (run, line, step, row) VALUES (?, ?, ?, ?)",
        ((run, offset + i, _step(row), line) for i, (row, line) in enumerate(zip(rows, lines, strict=True))),
    )
    _count(db, run, counts)


def drop_after(db: Database, run: int, step: int) -> None:
    """Forget all rows past a step, as a rewind does."""
    dropped = db.rows("SELECT row FROM history WHERE run = ? AND step > ?", (run, step))
    counts: Counter[tuple[str, str]] = Counter()
    counts.subtract(_tally(loads(row["row"]) for row in dropped))
    db.execute("DELETE FROM history WHERE run = ? AND step > ?", (run, step))
    _count(db, run, counts)


def _count(db: Database, run: int, counts: Counter[tuple[str, str]]) -> None:
    db.execute_many(
        """INSERT INTO history_keys (run, key, type, count) VALUES (?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET count = count + excluded.count""",
        ((run, key, kind, count) for (key, kind), count in counts.items() if count),
    )


def _step(row: dict[str, Any]) -> int | None:
    step = row.get("_step")
    return step if isinstance(step, int) and not isinstance(step, bool) else None


_TYPES: dict[type, str] = {
    int: "number",
    float: "number",
    bool: "boolean",
    str: "string",
    list: "list",
    type(None): "nil",
}


def _tally(rows: Iterable[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """How many values of which type each key has, nested keys under their dotted names."""
    # Counting pairs of key and type runs in C; this is the hot path of every write.
    flat: Counter[tuple[str, type]] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        kinds = list(map(type, row.values()))
        flat.update(zip(row, kinds, strict=True))
        if dict in kinds:
            counts.update(_nested(row))
    for (key, kind), count in flat.items():
        if kind is not dict:
            counts[key, _TYPES[kind]] += count
    return counts


def _nested(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in row.items():
        if not isinstance(value, dict):
            if prefix:
                yield prefix + key, _TYPES[type(value)]
        elif "_type" in value:
            yield prefix + key, str(value["_type"])
        else:
            yield prefix + key, "map"
            yield from _nested(value, f"{prefix}{key}.")


def line_count(db: Database, run: int) -> int:
    """The offset at which a writer goes on."""
    last: int | None = db.value("SELECT max(line) FROM history WHERE run = ?", (run,))
    return 0 if last is None else last + 1


def last_step(db: Database, run: int) -> int | None:
    """The highest step, None without any."""
    step: int | None = db.value("SELECT max(step) FROM history WHERE run = ?", (run,))
    return step


def tail(db: Database, run: int, count: int = 5) -> list[str]:
    """The last lines, oldest first."""
    rows = db.all("SELECT row FROM history WHERE run = ? ORDER BY line DESC LIMIT ?", (run, count))
    return [row["row"] for row in reversed(rows)]


def keys_of(db: Database, run: int) -> dict[str, Any]:
    """All keys with the number of values of each type, nested ones under their dotted names."""
    keys: dict[str, Any] = {}
    for row in db.rows(
        "SELECT key, type, count FROM history_keys WHERE run = ? AND count > 0 ORDER BY key", (run,)
    ):
        entry = keys.setdefault(row["key"], {"typeCounts": [], "monotonic": False, "previousValue": -1})
        entry["typeCounts"].append({"type": row["type"], "count": row["count"]})
    return keys


def sampled_rows(db: Database, run: int, steps: Steps, samples: int) -> list[str]:
    """Whole rows, thinned evenly to about ``samples``.

    A page of no more steps than ``samples`` comes complete, also if several rows share a step.
    """
    if not steps.bounded:
        return _spread_rows(db, run, samples)
    condition, parameters = steps.sql()
    bound = {**parameters, "run": run}
    exact = steps.start is not None and steps.stop is not None and steps.stop - steps.start <= samples
    count = samples if exact else db.value(f"SELECT count(*) FROM history WHERE {condition}", bound)  # noqa: S608
    if count <= samples:
        rows = db.rows(f"SELECT row FROM history WHERE {condition} ORDER BY step, line", bound)  # noqa: S608
        return [text for (text,) in rows]
    # The index alone answers which lines there are; only those that are wanted are read.
    lines = db.rows(f"SELECT line FROM history WHERE {condition} ORDER BY step, line", bound)  # noqa: S608
    return _rows_of(db, run, (row["line"] for row in thinned(lines, count, samples)))


def _spread_rows(db: Database, run: int, samples: int) -> list[str]:
    """Rows of the whole run in the order of lines, by evenly spread numbers of lines."""
    lines = line_count(db, run)
    if lines <= samples:
        rows = db.rows("SELECT row FROM history WHERE run = ? ORDER BY line", (run,))
        return [text for (text,) in rows]
    return _rows_of(db, run, thinned(range(lines), lines, samples))


def _rows_of(db: Database, run: int, lines: Iterable[int]) -> list[str]:
    found = (db.value("SELECT row FROM history WHERE run = ? AND line = ?", (run, line)) for line in lines)
    return [row for row in found if row is not None]


async def sampled_values(
    db: Database, run: int, steps: Steps, keys: Sequence[str], samples: int
) -> list[dict[str, Any]]:
    """Rows that have all of ``keys``, with these only, flat and in strict JSON; thinned evenly."""
    wanted = tuple(dict.fromkeys(keys))
    kept = Decimation[dict[str, Any]](samples)
    async for row in read(db, run, steps):
        values = {key: row[key] if key in row else dotted(row, key) for key in wanted}
        if MISSING not in values.values():
            kept.add(values)
    return [strict(values) for values in kept.rows()]


async def read(db: Database, run: int, steps: Steps) -> AsyncIterator[dict[str, Any]]:
    """All rows of a range; in the order of steps if it is bounded, else of lines.

    A long history takes seconds, so it is read in slices, between which the server answers others. Rows
    that are written meanwhile may be among them.
    """
    order = "step, line" if steps.bounded else "line"
    condition, parameters = steps.sql()
    bound: dict[str, Any] = {**parameters, "run": run}
    after = ""
    while True:
        sql = f"SELECT step, line, row FROM history WHERE {condition}{after} ORDER BY {order}"  # noqa: S608
        until = time.monotonic() + SLICE_S
        # Closed before others run: a statement that stays open would hold up the write-ahead log.
        with closing(db.rows(sql, bound)) as rows:
            for row in rows:
                yield loads(row["row"])
                if time.monotonic() > until:
                    break
            else:
                return
        bound |= {"last_step": row["step"], "last_line": row["line"]}
        after = " AND (step, line) > (:last_step, :last_line)" if steps.bounded else " AND line > :last_line"
        await asyncio.sleep(0)


def live_steps(db: Database, run: int, first_line: int = 0, limit: int = 1000) -> list[dict[str, int]]:
    """Steps of rows from a line on, before which all is exported: the lowest ones, and the highest.

    Clients ask where they begin and whether there are any.
    """
    steps = db.all(
        "SELECT DISTINCT step FROM history WHERE run = ? AND line >= ? AND step IS NOT NULL "
        "ORDER BY step LIMIT ?",
        (run, first_line, limit),
    )
    found = [{"_step": row["step"]} for row in steps]
    last = last_step(db, run)
    if found and last is not None and found[-1]["_step"] != last:
        found.append({"_step": last})
    return found


def thinned(rows: Iterable[T], count: int, samples: int) -> Iterator[T]:
    """About ``samples`` of ``count`` rows, evenly spaced, first and last included."""
    if count <= samples:
        yield from rows
    elif isinstance(rows, Sequence):
        yield from (rows[i] for i in _spread(count, samples))
    else:
        wanted = _spread(count, samples)
        upcoming = next(wanted, None)
        for i, row in enumerate(rows):
            if i == upcoming:
                yield row
                upcoming = next(wanted, None)


def _spread(count: int, samples: int) -> Iterator[int]:
    if samples == 1:
        yield 0
    for i in range(samples if samples > 1 else 0):
        yield i * (count - 1) // (samples - 1)


class Decimation(Generic[T]):
    """About ``samples`` rows of a stream of unknown length, never holding more than twice as many."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._kept: list[T] = []
        self._last: list[T] = []
        self._stride = 1
        self._seen = 0

    def add(self, row: T) -> None:
        """The next row of the stream."""
        self._last = [row]
        if self._seen % self._stride == 0:
            self._kept.append(row)
            self._last = []
            if len(self._kept) == 2 * max(1, self._samples):
                self._kept, self._last = self._kept[::2], [row]
                self._stride *= 2
        self._seen += 1

    def rows(self) -> list[T]:
        """What is kept by now, evenly spaced, first and last included."""
        kept = self._kept + self._last
        return list(thinned(kept, len(kept), self._samples))
