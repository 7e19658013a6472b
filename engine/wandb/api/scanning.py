"""Whole histories: row by row, and in parts that tables are made of."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from engine.errors import ConfigError
from engine.nested import NOTHING, value_at
from engine.records import Json
from engine.records import Run as RunRecord
from engine.wandb.api.asking import whole_number
from engine.wandb.api.sampling import Row
from engine.wandb.api.session import Session
from engine.wandb.reading.history import read_history, read_parts
from engine.wandb.reading.parquet import as_logged, is_wanted
from engine.wandb.reading.rows import STEP, Columns, Part, step_of


async def scan(
    session: Session,
    run: RunRecord,
    keys: Sequence[str],
    *,
    require_all: bool,
    min_step: int,
    max_step: int | None,
) -> AsyncGenerator[Sequence[Row]]:
    """The rows in chunks; see ``Run.scan_history``.

    Raises:
        ConfigError: the steps are no range.
    """
    whole_number("min_step", min_step)
    if max_step is not None and whole_number("max_step", max_step) < min_step:
        raise ConfigError(f"there are no steps from {min_step} to before {max_step}")
    deciding = _deciding(keys)
    bounded = min_step > 0 or max_step is not None
    async with aclosing(read_history(session.client, session.context, run)) as chunks:
        async for chunk in chunks:
            rows: Sequence[Row] = chunk.rows
            if bounded:
                if max_step is not None and _first(rows) >= max_step:
                    return
                rows = [row for row in rows if _is_within(row, min_step, max_step)]
            if keys:
                rows = [
                    chosen
                    for row in rows
                    if (chosen := _chosen(row, keys, deciding, require_all=require_all))
                ]
            if rows:
                yield rows


async def scan_parts(
    session: Session, run: RunRecord, keys: Sequence[str], *, require_all: bool
) -> AsyncGenerator[Part]:
    """The same rows for a table; see ``read_parts``."""
    async with aclosing(read_parts(session.client, session.context, run, keys)) as parts:
        async for part in parts:
            chosen = _chosen_of_part(part, keys, require_all=require_all) if keys else part
            if len(chosen):
                yield chosen


def _chosen_of_part(part: Part, keys: Sequence[str], *, require_all: bool) -> Part:
    if isinstance(part, Columns):
        return _chosen_of_columns(part, keys, require_all=require_all)
    if isinstance(part, pa.RecordBatch):
        if not any(is_wanted(name, keys) and name not in keys for name in part.schema.names):
            return _chosen_of_batch(part, keys, require_all=require_all)
        # Something is wanted of a nested column.
        part = list(as_logged(part))
    deciding = _deciding(keys)
    return [chosen for row in part if (chosen := _chosen(row, keys, deciding, require_all=require_all))]


def _chosen_of_columns(columns: Columns, keys: Sequence[str], *, require_all: bool) -> Columns:
    """All rows have the same keys, so they are chosen all or none."""
    there, deciding = _found(columns.arrays, keys, require_all=require_all)
    if not deciding:
        return Columns({}, 0)
    wanted = dict.fromkeys([STEP, *there])
    return Columns({key: columns.arrays[key] for key in wanted if key in columns.arrays}, len(columns))


def _chosen_of_batch(batch: pa.RecordBatch, keys: Sequence[str], *, require_all: bool) -> pa.RecordBatch:
    there, deciding = _found(batch.schema.names, keys, require_all=require_all)
    if not deciding:
        return batch.slice(0, 0)
    logged = (pc.is_valid(batch.column(key)) for key in deciding)
    wanted = reduce(pc.and_ if require_all else pc.or_, logged)
    return batch.select(list(dict.fromkeys([STEP, *there]))).filter(wanted)


def _found(
    names: Collection[str], keys: Sequence[str], *, require_all: bool
) -> tuple[Sequence[str], Sequence[str]]:
    """The keys that are there, and those of them that decide on a row; none of these if no row is wanted."""
    there = [key for key in keys if key in names]
    if require_all:
        return there, there if len(there) == len(keys) else ()
    deciding = _deciding(keys)
    return there, [key for key in there if key in deciding]


AXES = frozenset({"_step", "_runtime", "_timestamp"})
"""What every row has."""


def _deciding(keys: Sequence[str]) -> frozenset[str]:
    """Those of which a row needs any: what every row has is asked for to come along, unless it is alone."""
    return (frozenset(keys) - AXES) or frozenset(keys)


def _first(rows: Sequence[Row]) -> int:
    step = step_of(rows[0]) if rows else None
    return -1 if step is None else step


def _is_within(row: Row, min_step: int, max_step: int | None) -> bool:
    step = step_of(row)
    return step is not None and step >= min_step and (max_step is None or step < max_step)


def _chosen(row: Row, keys: Sequence[str], deciding: AbstractSet[str], *, require_all: bool) -> Row:
    found: dict[str, Json] = {}
    for key in keys:
        value = value_at(row, key)
        if value is not NOTHING:
            found[key] = value
        elif require_all:
            return {}
    if not require_all and deciding.isdisjoint(found):
        return {}
    # The step comes along, as with the SDK.
    return {"_step": row["_step"], **found} if found and "_step" in row else found
