"""Many objects on their way: how they are asked for, grouped and ordered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from engine.errors import EngineError, IntegrityError, NotFound
from engine.transfer.throttling.budget import ByteBudget
from engine.wandb.uploads.lanes import Lane, Lanes
from engine.wandb.uploads.payloads import SMALL, InMemory, OnDisk, Payload
from engine.wandb.uploads.sending import AHEAD, FIRST_BATCH, GROUP, Sending

pytestmark = pytest.mark.anyio


NOTHING = InMemory(b"")


@dataclass(frozen=True)
class Thing:
    name: int
    size: int
    payload: Payload = NOTHING


@dataclass
class Recorder:
    lanes: Lanes = field(default_factory=lambda: Lanes(8, ByteBudget(64 * SMALL)))
    batches: list[list[int]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    large: list[int] = field(default_factory=list)
    contents: dict[int, bytes] = field(default_factory=dict)
    signed_ahead: int = 0

    async def sign(self, batch: Sequence[Thing]) -> list[int]:
        self.batches.append([thing.name for thing in batch])
        await anyio.lowlevel.checkpoint()
        self.signed_ahead = max(self.signed_ahead, sum(map(len, self.batches)) - len(self.sent))
        return [thing.name for thing in batch]

    async def send(self, thing: Thing, target: int, payload: Payload) -> None:
        assert target == thing.name
        await anyio.lowlevel.checkpoint()
        self.contents[target] = b"".join([piece async for piece in payload.open(0, thing.size)])
        self.sent.append(target)

    async def send_large(self, thing: Thing, target: int) -> None:
        assert target == thing.name
        async with self.lanes.hold(Lane.LARGE, 1):
            self.large.append(target)

    async def all(self, things: Sequence[Thing], batch: int = 1_000) -> None:
        sending = Sending(self.lanes, self.sign, self.send, self.send_large, batch)
        await sending.all(things)


async def test_few_urls_are_asked_for_first_then_many_and_never_far_ahead():
    seen = Recorder()
    await seen.all([Thing(n, 1, InMemory(b"x")) for n in range(5_000)])
    assert [len(batch) for batch in seen.batches] == [FIRST_BATCH, *[1_000] * 4, 900]
    assert sorted(seen.sent) == list(range(5_000))
    assert seen.signed_ahead <= 1_000 + (AHEAD + seen.lanes.slots + 1) * GROUP


async def test_the_largest_objects_go_first_beside_the_small_ones():
    seen = Recorder()
    things = [Thing(n, n * SMALL + 1) for n in range(1, 6)] + [Thing(0, 1, InMemory(b"x"))]
    await seen.all(things)
    assert seen.large == [5, 4, 3, 2, 1]
    assert seen.sent == [0]
    assert sorted(map(sorted, seen.batches)) == [[0], [1, 2, 3, 4, 5]]


async def test_urls_of_large_objects_are_asked_for_by_their_bytes():
    seen = Recorder()
    await seen.all([Thing(n, 300 * SMALL) for n in range(7)])
    assert [len(batch) for batch in seen.batches] == [3, 3, 1]


async def test_small_files_are_read_whole_and_take_memory_while_they_are_sent(tmp_path: Path):
    budget = ByteBudget(64 * SMALL)
    seen = Recorder(Lanes(4, budget))
    things = []
    for number in range(300):
        path = tmp_path / str(number)
        path.write_bytes(bytes([number % 251]) * 1_000)
        things.append(Thing(number, 1_000, OnDisk(str(path))))
    await seen.all(things)
    assert all(content == bytes([number % 251]) * 1_000 for number, content in seen.contents.items())
    assert len(seen.contents) == 300
    assert 0 < budget.peak <= 4 * GROUP * 1_000
    assert budget.in_flight == 0


async def test_a_file_that_cannot_be_read_any_more_is_named(tmp_path: Path):
    with pytest.raises(EngineError, match=r"gone\.bin"):
        await Recorder().all([Thing(0, 5, OnDisk(str(tmp_path / "gone.bin")))])
    short = tmp_path / "short.bin"
    short.write_bytes(b"abc")
    with pytest.raises(IntegrityError, match=r"shorter.*short\.bin"):
        await Recorder().all([Thing(0, 5, OnDisk(str(short)))])


async def test_a_failure_in_one_lane_comes_out_bare_and_ends_the_other():
    class Failing(Recorder):
        async def send_large(self, thing: Thing, target: int) -> None:
            raise NotFound("no bucket")

        async def send(self, thing: Thing, target: int, payload: Payload) -> None:
            await anyio.sleep_forever()

    with pytest.raises(NotFound, match="no bucket"), anyio.fail_after(5):
        await Failing().all([Thing(0, 1), Thing(1, 2 * SMALL)])
