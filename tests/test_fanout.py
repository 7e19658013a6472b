"""Many jobs at once, bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from engine.fanout import KeyedLocks, for_each

pytestmark = pytest.mark.anyio


async def test_no_more_than_the_limit_run_at_a_time():
    running = peak = 0
    done = []

    async def work(item: int) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        running -= 1
        done.append(item)

    await for_each(range(20), work, limit=3)
    assert sorted(done) == list(range(20))
    assert peak == 3


async def test_the_first_failure_comes_out_bare_and_ends_the_others():
    ended = []

    async def work(item: int) -> None:
        if item == 1:
            raise ValueError("one")
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(item)

    with pytest.raises(ValueError, match="one"):
        await for_each(range(3), work, limit=3)
    assert sorted(ended) == [0, 2]


async def test_a_failing_supply_comes_out_bare():
    async def supply() -> AsyncIterator[int]:
        yield 1
        raise KeyError("supply")

    async def work(item: int) -> None:
        await anyio.lowlevel.checkpoint()

    with pytest.raises(KeyError, match="supply"):
        await for_each(supply(), work, limit=2)


async def test_a_keyed_lock_lets_one_in_per_key_and_forgets_keys():
    locks = KeyedLocks()
    inside: list[str] = []

    async def visit(key: str) -> None:
        async with locks.hold(key):
            assert key not in inside
            inside.append(key)
            await anyio.lowlevel.checkpoint()
            inside.remove(key)

    async with anyio.create_task_group() as group:
        for key in "aabbaab":
            group.start_soon(visit, key)
    assert not locks._locks
