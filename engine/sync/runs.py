"""Lists of runs without ``await``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, overload

from engine.errors import ConfigError
from engine.protocols import Unreadable
from engine.sync.loop import Loop
from engine.sync.run import Run
from engine.wandb.api import runs as asynchronous
from engine.wandb.api.table import HistoryTable

FORMATS = ("default", "pandas", "polars")


class Runs:
    """The runs of a project that match a filter, a page at a time. Each loop asks the server anew."""

    def __init__(self, loop: Loop, runs: asynchronous.Runs) -> None:
        self._loop = loop
        self._runs = runs

    def __len__(self) -> int:
        """How many there are as the server counts them; ``given`` says how many the last loop gave."""
        return self._loop.run(self._runs.total())

    @property
    def given(self) -> int:
        """Runs that the last loop has given so far."""
        return self._runs.given

    @property
    def unreadable(self) -> list[Unreadable]:
        """What the last loop had to pass over, and why."""
        return self._runs.unreadable

    def __iter__(self) -> Iterator[Run]:
        for page in self._loop.iterate(self._runs.pages()):
            for run in page:
                yield Run(self._loop, run)

    @overload
    def __getitem__(self, index: int) -> Run: ...

    @overload
    def __getitem__(self, index: slice) -> list[Run]: ...

    def __getitem__(self, index: int | slice) -> Run | list[Run]:
        if isinstance(index, slice):
            if any(part is not None and part < 0 for part in (index.start, index.stop, index.step)):
                return list(self)[index]
            return list(islice(self, index.start, index.stop, index.step))
        if index < 0:
            return list(self)[index]
        for run in islice(self, index, None):
            return run
        raise IndexError(index)

    def histories(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        format: str = "default",  # noqa: A002 - the SDK's spelling
        stream: str = "default",
    ) -> Any:
        """Samples of all histories, with ``run_id``: dicts, or a ``pandas`` or ``polars`` frame."""
        if format not in FORMATS:
            raise ConfigError(f"there is no format {format!r}", remedy=f"name one of {', '.join(FORMATS)}")
        rows = self._loop.run(self._runs.samples(samples, keys, x_axis, stream=stream))
        if format == "default":
            return rows
        import pandas as pd

        frame = pd.DataFrame.from_records(rows)
        if format == "pandas":
            return frame
        import polars

        return polars.from_pandas(frame)

    def history_tables(
        self, keys: Sequence[str] | None = None, *, require_all: bool = False
    ) -> Iterator[tuple[Run, HistoryTable]]:
        """Every run with its whole history, several read at a time: ``histories`` of ``engine.Api``."""
        for run, table in self._loop.iterate(self._runs.histories(keys, require_all=require_all)):
            yield Run(self._loop, run), table

    def __repr__(self) -> str:
        return repr(self._runs)
