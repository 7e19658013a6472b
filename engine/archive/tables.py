"""What all Parquet files of an archive have in common."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

RUN: Final = pa.field("_run", pa.dictionary(pa.int32(), pa.string()))
"""The id of the run, so that files of many runs can be read as one table."""

_FACTS: Final = b"transfer_engine"


def file_facts(form: str) -> dict[bytes, bytes]:
    """Metadata of a file: what it is and how it is to be read."""
    return {_FACTS: json.dumps({"form": form, "version": 1}).encode()}


def form_of(path: Path) -> str:
    """``points`` or ``rows``."""
    facts = (pq.read_schema(path).metadata or {}).get(_FACTS, b"{}")
    return str(json.loads(facts).get("form"))


def open_writer(path: Path, schema: Any, *, dictionaries: list[str]) -> Any:
    """A Parquet writer of this package's settings."""
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=dictionaries, version="2.6")


def constant(value: str, count: int) -> Any:
    """A column that says the same on each line and takes next to no room."""
    indices = pa.array(np.zeros(count, dtype=np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([value], pa.string()))


def shown(text: str) -> str:
    """Text as UTF-8 can hold it, for columns whose exact content stands elsewhere too."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
