"""Slots for uploads: shared by small and large objects, so that neither starves."""

from __future__ import annotations

import anyio
import pytest

from engine.transfer.throttling.budget import ByteBudget
from engine.wandb.uploads.lanes import Lane, Lanes

pytestmark = pytest.mark.anyio


class Uploads:
    """Holds slots until told to let them go."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self.ends: dict[Lane, list[anyio.Event]] = {lane: [] for lane in Lane}

    async def one(self, lane: Lane) -> None:
        async with self.lanes.hold(lane, 1):
            end = anyio.Event()
            self.ends[lane].append(end)
            await end.wait()

    async def end(self, lane: Lane) -> None:
        self.ends[lane].pop().set()
        await anyio.wait_all_tasks_blocked()

    @property
    def busy(self) -> tuple[int, int]:
        return self.lanes.busy(Lane.SMALL), self.lanes.busy(Lane.LARGE)


async def started(uploads: Uploads, tasks: anyio.abc.TaskGroup, small: int = 0, large: int = 0) -> None:
    for lane, count in ((Lane.SMALL, small), (Lane.LARGE, large)):
        for _ in range(count):
            tasks.start_soon(uploads.one, lane)
    await anyio.wait_all_tasks_blocked()


async def test_an_idle_lane_lends_its_slots_and_large_objects_leave_some_for_small_ones():
    uploads = Uploads(Lanes(16, ByteBudget(1_000)))
    async with anyio.create_task_group() as tasks:
        await started(uploads, tasks, large=40)
        assert uploads.busy == (0, 14)
        await started(uploads, tasks, small=40)
        assert uploads.busy == (2, 14)
        tasks.cancel_scope.cancel()


async def test_freed_slots_go_to_whoever_has_less_than_its_share():
    uploads = Uploads(Lanes(10, ByteBudget(1_000)))
    async with anyio.create_task_group() as tasks:
        await started(uploads, tasks, large=40)
        await started(uploads, tasks, small=40)
        assert uploads.busy == (1, 9)
        for _ in range(8):
            await uploads.end(Lane.LARGE)
        assert uploads.busy == (6, 4)
        for _ in range(20):
            await uploads.end(Lane.SMALL)
        assert uploads.busy == (6, 4)
        tasks.cancel_scope.cancel()


async def test_small_objects_alone_use_every_slot():
    uploads = Uploads(Lanes(10, ByteBudget(1_000)))
    async with anyio.create_task_group() as tasks:
        await started(uploads, tasks, small=12)
        assert uploads.busy == (10, 0)
        tasks.cancel_scope.cancel()


async def test_a_cancelled_wait_leaves_the_line_and_takes_nothing():
    lanes = Lanes(1, ByteBudget(10))
    uploads = Uploads(lanes)
    async with anyio.create_task_group() as tasks:
        await started(uploads, tasks, small=1)
        with anyio.move_on_after(0.01):
            await uploads.one(Lane.SMALL)
        await uploads.end(Lane.SMALL)
        assert uploads.busy == (0, 0)
        with anyio.fail_after(1):
            async with lanes.hold(Lane.LARGE, 1):
                pass


async def test_artifacts_that_keep_memory_never_block_the_uploads_they_wait_for():
    budget = ByteBudget(100)
    lanes = Lanes(4, budget)

    async def artifact() -> None:
        async with lanes.keep(40):
            await anyio.lowlevel.checkpoint()
            async with lanes.hold(Lane.SMALL, 1_000):
                await anyio.lowlevel.checkpoint()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(artifact)
    assert budget.in_flight == 0
    assert budget.peak <= 100
