"""Reads a project: ``python -m benchmarks.export_clients CLIENT WHAT ENTITY/PROJECT PER_PAGE RUNS``.

CLIENT is ``engine``, ``sdk`` or ``sdk-eager`` (``lazy=False``), WHAT is ``listing``, ``histories`` or
``exported``. Reads no more than the first RUNS and prints how much that was. Server and key come from the
environment.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")


async def engine_listing(path: str, per_page: int, most: int) -> int:
    import engine

    async with engine.Api() as api, aclosing(_first(api.runs(path, per_page=per_page), most)) as runs:
        return sum([_values(run) async for run in runs])


async def engine_histories(path: str, per_page: int, most: int) -> int:
    import engine

    async with engine.Api() as api:
        histories = api.runs(path, per_page=per_page).histories()
        async with aclosing(histories), aclosing(_first(histories, most)) as wanted:
            return sum([table.num_rows async for _, table in wanted])


async def _first(things: AsyncIterable[T], most: int) -> AsyncGenerator[T]:
    count = 0
    async for thing in things:
        yield thing
        count += 1
        if count == most:
            return


def sdk_listing(path: str, per_page: int, most: int, *, lazy: bool) -> int:
    import wandb

    runs = wandb.Api(timeout=120).runs(path, per_page=per_page, lazy=lazy)
    return sum(_values(run) for run in islice(runs, most))


def sdk_histories(path: str, per_page: int, most: int) -> int:
    import wandb

    runs = wandb.Api(timeout=120).runs(path, per_page=per_page)
    return sum(sum(1 for _ in run.scan_history()) for run in islice(runs, most))


def _values(run: Any) -> int:
    """Each run's config and summary are looked at."""
    return len(run.config) + len(dict(run.summary_metrics))


def main(client: str, what: str, path: str, per_page: int, most: int) -> int:
    if client == "engine":
        read = engine_listing if what == "listing" else engine_histories
        return asyncio.run(read(path, per_page, most))
    if what == "listing":
        return sdk_listing(path, per_page, most, lazy=client == "sdk")
    return sdk_histories(path, per_page, most)


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
