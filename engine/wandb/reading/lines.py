"""Lines of a history: pages of JSON texts, as servers give rows that they have not exported.

Lines are parsed some at a time: many are quicker together, but no more than fit in the cache of a processor
with the objects that become of them. For tables these are gone again before the next lines are parsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from engine.records import Json
from engine.wandb.reading.alike import blocks, columns_of_alike
from engine.wandb.reading.columns import ColumnBuilder
from engine.wandb.reading.rows import STEP, Part, Row, in_order
from engine.wandb.reading.values import parse


def parse_lines(lines: Sequence[str]) -> list[Json]:
    """The value of each line; see ``values.parse``.

    Raises:
        ValueError: one is no JSON.
    """
    return list(chain.from_iterable(map(_parsed, blocks(lines))))


def rows_of(lines: Sequence[str]) -> list[Row]:
    """The rows of a page in the order of their steps.

    Raises:
        ValueError: a line is no JSON.
    """
    return in_order(parse_lines(lines))


def part_of(lines: Sequence[str], keys: Sequence[str] = ()) -> Part:
    """The same rows for tables: by column where they can be.

    Args:
        keys: those that somebody chooses rows by; others may be left out.

    Raises:
        ValueError: a line is no JSON.
    """
    if (alike := columns_of_alike(lines)) is not None:
        return alike
    columns = ColumnBuilder()
    wanted = dict.fromkeys([STEP, *keys])
    last = -1
    for rows in map(_parsed, blocks(lines)):
        steps = [row.get(STEP) for row in rows]
        if set(map(type, steps)) != {int} or steps[0] < last or steps != sorted(steps):
            return rows_of(lines)
        last = steps[-1]
        if not keys:
            columns.add(rows)
        elif not columns.add_chosen(rows, wanted):
            return rows_of(lines)
    return columns.columns()


def _parsed(lines: Sequence[str]) -> list[Json]:
    found = parse(f"[{','.join(lines)}]")
    if len(found) != len(lines):
        raise ValueError("a line holds more or less than one value")
    rows: list[Json] = found
    return rows
