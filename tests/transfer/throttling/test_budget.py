"""The byte budget: never more than its total, first come first served, nothing lost by cancelling."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.transfer.throttling.budget import ByteBudget

pytestmark = pytest.mark.anyio


@settings(max_examples=50, deadline=None)
@given(
    total=st.integers(1, 100),
    sizes=st.lists(st.integers(0, 150), max_size=30),
    cancelled=st.sets(st.integers(0, 29)),
)
def test_never_more_than_the_total_is_held_and_all_of_it_comes_back(
    total: int, sizes: list[int], cancelled: set[int]
):
    async def main() -> ByteBudget:
        budget = ByteBudget(total)

        async def hold(size: int, cancel: bool) -> None:
            with anyio.CancelScope() as scope:
                if cancel:
                    scope.cancel()
                async with budget.hold(size):
                    assert budget.in_flight <= total
                    await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            for number, size in enumerate(sizes):
                tasks.start_soon(hold, size, number in cancelled)
        return budget

    budget = anyio.run(main)
    assert budget.in_flight == 0
    assert budget.peak <= total


async def test_a_request_larger_than_the_budget_passes_alone():
    budget = ByteBudget(10)
    async with budget.hold(1_000):
        assert budget.in_flight == 10
        with anyio.move_on_after(0.01) as waited:
            async with budget.hold(1):
                pytest.fail("nothing else fits")
        assert waited.cancelled_caught
    async with budget.hold(1):
        assert budget.in_flight == 1


async def test_a_large_request_is_not_overtaken_for_ever_by_small_ones():
    budget = ByteBudget(10)
    order: list[str] = []

    async def take(name: str, size: int) -> None:
        async with budget.hold(size):
            order.append(name)

    async with anyio.create_task_group() as tasks, budget.hold(6):
        tasks.start_soon(take, "large", 8)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(take, "small", 1)
        await anyio.wait_all_tasks_blocked()
        assert order == []
    assert order == ["large", "small"]


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(ValueError, match="positive"):
        ByteBudget(0)
