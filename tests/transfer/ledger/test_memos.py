"""What is remembered of a run that is half done, and when it is forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.records import Namespace, Run, RunState
from engine.transfer.ledger.items import Kind
from engine.transfer.ledger.journal import Journal
from engine.transfer.ledger.ledger import Ledger, open_ledger
from engine.transfer.ledger.memos import Memos, RunMemos
from engine.transfer.ledger.proofs import Known
from engine.transfer.ledger.status import read_status

pytestmark = pytest.mark.anyio

RUN = Run(id="r1", namespace=Namespace("", "vision"), fingerprint="f")
PLACE = Namespace("me", "p")


@asynccontextmanager
async def opened(state_dir: Path) -> AsyncIterator[Ledger]:
    async with open_ledger("memory:a", "memory:b", state_dir=state_dir, scratch=state_dir) as ledger:
        yield ledger


@asynccontextmanager
async def remembered(state_dir: Path) -> AsyncIterator[RunMemos]:
    async with opened(state_dir) as ledger:
        yield Memos(ledger).of(RUN, PLACE)


async def test_the_next_transfer_finds_what_this_one_put(tmp_path):
    async with remembered(tmp_path) as memos:
        await memos.put(Kind.OBJECT_PART, "big.bin#1", {"etag": "a"})
        await memos.put(Kind.OBJECT_PART, "big.bin#2", {"etag": "b"})
        await memos.put(Kind.OBJECT_PART, "BIG.bin#1", {"etag": "c"})
        await memos.put(Kind.OBJECT_PART, "big_bin#1", {"etag": "d"})
        await memos.put(Kind.HISTORY_RANGE, "", 40_000)
        await memos.put(Kind.HISTORY_RANGE, "", 50_000)
    async with remembered(tmp_path) as memos:
        assert await memos.find(Kind.OBJECT_PART, "big.bin#") == {
            "big.bin#1": {"etag": "a"},
            "big.bin#2": {"etag": "b"},
        }
        assert await memos.get(Kind.HISTORY_RANGE, "") == 50_000
        assert await memos.get(Kind.OBJECT_PART, "big.bin") is None


async def test_what_was_put_a_moment_ago_is_found(tmp_path):
    async with remembered(tmp_path) as memos:
        for number in range(1_000):
            await memos.put(Kind.OBJECT_PART, f"x#{number:04}", number)
        assert list(await memos.find(Kind.OBJECT_PART)) == [f"x#{number:04}" for number in range(1_000)]


async def test_what_is_forgotten_is_gone(tmp_path):
    async with remembered(tmp_path) as memos:
        await memos.put(Kind.OBJECT_PART, "x#1", 1)
        await memos.forget(Kind.OBJECT_PART, "x#1")
        assert await memos.find(Kind.OBJECT_PART) == {}


async def test_nothing_is_left_of_a_run_that_is_done(tmp_path):
    async with opened(tmp_path) as ledger:
        memos = Memos(ledger).of(RUN, PLACE)
        await memos.put(Kind.OBJECT_PART, "x#1", 1)
        await Journal(ledger, frozenset()).run_done(RUN, PLACE, Known())
        assert await memos.find(Kind.OBJECT_PART) == {}
    assert Kind.OBJECT_PART not in read_status(tmp_path)[0].counts


async def test_a_run_that_goes_on_at_the_source_keeps_its_memos(tmp_path):
    live = Run(id="r1", namespace=RUN.namespace, state=RunState.RUNNING)
    async with opened(tmp_path) as ledger:
        memos = Memos(ledger).of(live, PLACE)
        await memos.put(Kind.HISTORY_RANGE, "", 7)
        await Journal(ledger, frozenset()).run_done(live, PLACE, Known())
        assert await memos.get(Kind.HISTORY_RANGE, "") == 7


async def test_another_place_and_another_run_have_memos_of_their_own(tmp_path):
    async with opened(tmp_path) as ledger:
        await Memos(ledger).of(RUN, PLACE).put(Kind.HISTORY_RANGE, "", 7)
        other = Run(id="r2", namespace=RUN.namespace)
        assert await Memos(ledger).of(RUN, Namespace("me", "elsewhere")).find(Kind.HISTORY_RANGE) == {}
        assert await Memos(ledger).of(other, PLACE).find(Kind.HISTORY_RANGE) == {}


async def test_a_transfer_that_starts_over_knows_nothing(tmp_path):
    async with opened(tmp_path) as ledger:
        await Memos(ledger).of(RUN, PLACE).put(Kind.HISTORY_RANGE, "", 7)
        assert await Memos(ledger, reads=False).of(RUN, PLACE).get(Kind.HISTORY_RANGE, "") is None


async def test_without_a_ledger_nothing_is_remembered():
    memos = Memos().of(RUN, PLACE)
    await memos.put(Kind.HISTORY_RANGE, "", 7)
    assert await memos.get(Kind.HISTORY_RANGE, "") is None
