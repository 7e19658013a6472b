"""Many askers share an answer, and none of them depends on another."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import anyio
import pytest

from engine.transfer.ledger.lookups import Lookups

pytestmark = pytest.mark.anyio


class Answers:
    """Squares of even numbers; ``gate`` holds the answers back."""

    def __init__(self) -> None:
        self.asked: list[set[int]] = []
        self.gate = anyio.Event()
        self.error: Exception | None = None

    async def fetch(self, keys: Collection[int]) -> Mapping[int, int]:
        self.asked.append(set(keys))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return {key: key * key for key in keys if key % 2 == 0}


async def test_those_who_ask_while_others_are_answered_share_the_next_answer():
    answers = Answers()
    lookups, got = Lookups(answers.fetch), {}

    async def ask(key: int) -> None:
        got[key] = await lookups.get(key)

    async with anyio.create_task_group() as tasks:
        for key in range(10):
            tasks.start_soon(ask, key)
            await anyio.wait_all_tasks_blocked()
        answers.gate.set()

    assert answers.asked == [{0}, set(range(1, 10))]
    assert got == {key: None if key % 2 else key * key for key in range(10)}


async def test_an_error_is_told_to_all_who_asked_and_to_nobody_later():
    answers = Answers()
    lookups, errors = Lookups(answers.fetch), []
    answers.error = ValueError("no")

    async def ask(key: int) -> None:
        try:
            await lookups.get(key)
        except ValueError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        for key in range(4):
            tasks.start_soon(ask, key)
        await anyio.wait_all_tasks_blocked()
        answers.gate.set()
    assert len(errors) == 4
    answers.error = None
    assert await lookups.get(4) == 16


async def test_one_who_is_cancelled_leaves_the_others_their_answers():
    answers = Answers()
    lookups, got = Lookups(answers.fetch), {}

    async def ask(key: int, scope: anyio.CancelScope) -> None:
        with scope:
            got[key] = await lookups.get(key)

    async with anyio.create_task_group() as tasks:
        scopes = [anyio.CancelScope() for _ in range(4)]
        for key, scope in enumerate(scopes):
            tasks.start_soon(ask, key * 2, scope)
        await anyio.wait_all_tasks_blocked()
        scopes[0].cancel()
        await anyio.wait_all_tasks_blocked()
        scopes[1].cancel()
        await anyio.wait_all_tasks_blocked()
        answers.gate.set()
    assert got == {4: 16, 6: 36}
