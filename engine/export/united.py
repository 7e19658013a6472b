"""Parquet files that have columns of their own, as one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS = 16_384


def one_table(paths: Sequence[Path]) -> pa.RecordBatchReader:
    """All rows of all files, under one schema.

    There is a column for each name that occurs, of a type that takes what all files have of it: numbers of
    both kinds become floats, what has nothing else in common becomes text. Databases take names that differ
    by case alone for one, so the later ones get a number.
    """
    schema = _united(paths)
    told = [pa.field(name, field.type) for name, field in zip(_told_apart(schema.names), schema, strict=True)]
    return pa.RecordBatchReader.from_batches(pa.schema(told), _batches(paths, schema, pa.schema(told)))


def _united(paths: Sequence[Path]) -> pa.Schema:
    types: dict[str, set[pa.DataType]] = {}
    for path in paths:
        for field in pq.read_schema(path):
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            types.setdefault(field.name, set()).add(kind)
    return pa.schema([pa.field(name, _common(kinds)) for name, kinds in types.items()])


def _common(kinds: set[pa.DataType]) -> pa.DataType:
    if len(kinds) == 1:
        return next(iter(kinds))
    return pa.float64() if kinds == {pa.int64(), pa.float64()} else pa.string()


def _told_apart(names: Sequence[str]) -> list[str]:
    taken: set[str] = set()
    told = []
    for name in names:
        free, number = name, 0
        while free.casefold() in taken:
            number += 1
            free = f"{name}_{number}"
        taken.add(free.casefold())
        told.append(free)
    return told


def _batches(paths: Sequence[Path], schema: pa.Schema, told: pa.Schema) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                there = dict(zip(batch.schema.names, batch.columns, strict=True))
                columns = [
                    there[field.name].cast(field.type, safe=False)
                    if field.name in there
                    else pa.nulls(batch.num_rows, field.type)
                    for field in schema
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=told)
