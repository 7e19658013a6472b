"""Reads a project: ``python -m benchmarks.export_clients CLIENT WHAT ENTITY/PROJECT PER_PAGE``.

CLIENT is ``engine``, ``sdk`` or ``sdk-eager`` (``lazy=False``), WHAT is ``listing``, ``histories`` or
``exported``, or ``start`` for nothing. Prints how much was read. Server and key come from the environment.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any


async def engine_start() -> int:
    import engine

    async with engine.Api():
        return 0


async def engine_listing(path: str, per_page: int) -> int:
    import engine

    async with engine.Api() as api:
        return sum([_values(run) async for run in api.runs(path, per_page=per_page)])


async def engine_histories(path: str, per_page: int) -> int:
    import engine

    async with engine.Api() as api:
        runs = api.runs(path, per_page=per_page)
        return sum([table.num_rows async for _, table in runs.histories()])


def sdk_start() -> int:
    import wandb

    return 0 * len(wandb.Api(timeout=120).default_entity)


def sdk_listing(path: str, per_page: int, *, lazy: bool) -> int:
    import wandb

    return sum(_values(run) for run in wandb.Api(timeout=120).runs(path, per_page=per_page, lazy=lazy))


def sdk_histories(path: str, per_page: int) -> int:
    import wandb

    runs = wandb.Api(timeout=120).runs(path, per_page=per_page)
    return sum(sum(1 for _ in run.scan_history()) for run in runs)


def _values(run: Any) -> int:
    """Each run's config and summary are looked at."""
    return len(run.config) + len(dict(run.summary_metrics))


def main(client: str, what: str, path: str, per_page: int) -> int:
    if client == "engine":
        if what == "start":
            return asyncio.run(engine_start())
        return asyncio.run(
            engine_listing(path, per_page) if what == "listing" else engine_histories(path, per_page)
        )
    if what == "start":
        return sdk_start()
    if what == "listing":
        return sdk_listing(path, per_page, lazy=client == "sdk")
    return sdk_histories(path, per_page)


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
