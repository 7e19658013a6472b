"""Rows of histories, as Python objects and as Arrow, and their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

from engine.records import Json

STEP = "_step"

Row: TypeAlias = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Columns:
    """Some rows by column; see ``reading.columns`` for the types of the arrays.

    Attributes:
        arrays: by key, in the order in which the rows have them; null where a row has none.
        rows: how many.
    """

    arrays: Mapping[str, pa.Array]
    rows: int

    def __len__(self) -> int:
        return self.rows


Part: TypeAlias = Sequence[Row] | pa.RecordBatch | Columns
"""Some rows of a history, in the order of their steps."""


def in_order(rows: Sequence[Row]) -> list[Row]:
    """By step, also rows of several writers; a row without a step stays behind the one before it."""
    steps: list[Json] = [row.get(STEP) for row in rows]
    if set(map(type, steps)) == {int} and steps == sorted(steps):
        return list(rows)
    keys: list[int] = []
    for row in rows:
        step = step_of(row)
        keys.append(step if step is not None else keys[-1] if keys else -1)
    return [rows[place] for place in sorted(range(len(rows)), key=keys.__getitem__)]


def step_of(row: Row) -> int | None:
    step = row.get(STEP)
    return step if type(step) is int else None


def last_step(part: Part) -> int | None:
    """The step of the last row; None if it has none, or there is no row."""
    if not len(part):
        return None
    if isinstance(part, (pa.RecordBatch, Columns)):
        steps = part.column(STEP) if isinstance(part, pa.RecordBatch) else part.arrays[STEP]
        step = steps[-1].as_py()
        return None if step is None else int(step)
    return step_of(part[-1])
