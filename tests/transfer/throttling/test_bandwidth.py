"""A bandwidth limit: the sum of all bytes keeps to the rate, whoever moves them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.records import Namespace, Run
from engine.transfer.engine import Engine
from engine.transfer.options import Options
from engine.transfer.throttling.bandwidth import BURST_S, Bandwidth
from tests.memory import MemoryDestination, MemoryRun, MemorySource


def test_without_a_limit_nobody_waits():
    assert Bandwidth().reserve(10**12, now=0.0) == 0.0


def test_a_limit_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        Bandwidth(0)


def test_bytes_pass_one_after_another_at_the_rate():
    limit = Bandwidth(1_000)
    limit.reserve(int(1_000 * BURST_S), now=0.0)
    assert [round(limit.reserve(500, now=0.0), 6) for _ in range(3)] == [0.5, 1.0, 1.5]


def test_a_pause_saves_up_no_more_than_a_burst():
    limit = Bandwidth(1_000)
    assert limit.reserve(int(1_000 * BURST_S), now=1_000.0) == 0.0
    assert limit.reserve(1_000, now=1_000.0) == pytest.approx(1.0)


@given(
    st.lists(st.tuples(st.integers(1, 10_000_000), st.floats(0, 5)), min_size=1, max_size=50),
    st.integers(1_000, 10**9),
)
def test_at_no_time_have_more_bytes_passed_than_the_rate_allows(takes: list[tuple[int, float]], rate: int):
    limit = Bandwidth(rate)
    now, passed = 0.0, 0
    for size, pause in takes:
        now += limit.reserve(size, now)
        passed += size
        assert passed <= rate * (now + BURST_S) * (1 + 1e-9) + 1
        now += pause


@pytest.mark.anyio
async def test_a_transfer_downloads_no_faster_than_it_may():
    runs = [
        MemoryRun(Run(id=str(n), namespace=Namespace("", "e")), files={"file": bytes(100_000)})
        for n in range(4)
    ]
    began = time.monotonic()
    async with Engine(MemorySource({"e": runs}), MemoryDestination(), Options(bandwidth=1_000_000)) as engine:
        result = await engine.run()
    assert result.counters.bytes == 400_000
    assert time.monotonic() - began >= 0.4 - BURST_S
