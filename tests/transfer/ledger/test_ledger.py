"""What the ledger promises: durable before done, one engine at a time, and answers that stay quick."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError, EngineError, Outage, Side
from engine.fingerprints import ContentFingerprint, fingerprint
from engine.records import Artifact, ArtifactEntry, Namespace, Run
from engine.transfer.ledger.holder import Holder
from engine.transfer.ledger.items import Cause, Item, Kind, State
from engine.transfer.ledger.ledger import LEDGER, LOCK, Ledger, open_ledger
from engine.transfer.ledger.lock import locked
from engine.transfer.ledger.status import read_status, status_of
from engine.transfer.ledger.store import Store, sqlite_url
from engine.transfer.ledger.trail import run_line
from tests.postgresql import running_postgresql

pytestmark = pytest.mark.anyio

HERE, THERE = "memory:here", "memory:there"


def item(run: str = "r1", kind: Kind = Kind.RUN, **facts) -> Item:
    return Item(kind=kind, project="vision", run=run, **{"state": State.DONE, **facts})


@asynccontextmanager
async def opened(state_dir: Path, destination: str = THERE) -> AsyncIterator[Ledger]:
    async with open_ledger(HERE, destination, state_dir=state_dir, scratch=state_dir) as ledger:
        yield ledger


async def test_an_item_comes_back_as_it_was_written(tmp_path):
    failed = item(
        kind=Kind.ARTIFACT,
        name="dataset/a:v3",
        state=State.FAILED,
        destination="me/p",
        fingerprint="f",
        content="c",
        parts=frozenset({"history", "files"}),
        note='{"last": 3}',
        attempts=1,
        cause=Cause(kind="CommError", side="source", message="no", remedy="mend it"),
        points=1,
        files=2,
        bytes=1 << 40,
    )
    async with opened(tmp_path) as ledger:
        await ledger.settle(failed)
        assert await ledger.items("vision", "r1") == [failed]
        assert await ledger.run("vision", "r1") is None
        assert await ledger.items("text", "r1") == []


async def test_a_later_item_replaces_an_earlier_one_and_attempts_add_up(tmp_path):
    async with opened(tmp_path) as ledger:
        for state in (State.PENDING, State.FAILED, State.PENDING, State.DONE):
            await ledger.note(item(state=state, attempts=int(state is State.PENDING)))
        await ledger.settle(item("r2"))
        assert await ledger.run("vision", "r2") == item("r2")
        [found] = await ledger.items("vision", "r1")
    assert (found.state, found.attempts) == (State.DONE, 2)


async def test_a_run_that_is_done_takes_back_failures_of_parts_that_are_gone(tmp_path):
    async with opened(tmp_path) as ledger:
        await ledger.note(item(kind=Kind.ARTIFACT, name="gone", state=State.FAILED))
        await ledger.note(item(kind=Kind.ARTIFACT, name="there"))
        await ledger.note(item("r2", kind=Kind.ARTIFACT, name="other", state=State.FAILED))
        await ledger.settle(item())
        assert {i.name for i in await ledger.items("vision", "r1")} == {"", "there"}
        assert len(await ledger.items("vision", "r2")) == 1


@pytest.mark.parametrize("text", ["NUL \0", "half \ud800 of a pair", "日本語", "'; drop table item; --"])
async def test_any_text_can_be_kept_and_found_again(tmp_path, text):
    async with opened(tmp_path) as ledger:
        await ledger.settle(item(text, cause=Cause(kind="CommError", side="source", message=text)))
        assert len(await ledger.items("vision", text)) == 1
        assert await ledger.run("vision", text) is not None


async def test_migrations_in_one_directory_know_nothing_of_each_other(tmp_path):
    async with opened(tmp_path) as ledger:
        await ledger.settle(item())
    async with opened(tmp_path, "memory:elsewhere") as ledger:
        assert await ledger.items("vision", "r1") == []
    async with opened(tmp_path) as ledger:
        assert await ledger.items("vision", "r1") == [item()]


async def test_many_items_share_a_commit_and_stay_in_order(tmp_path):
    commits = 0

    async with opened(tmp_path) as ledger:

        def count(connection: sa.Connection) -> None:
            nonlocal commits
            commits += 1

        sa.event.listen(ledger._store.engine, "commit", count)
        async with anyio.create_task_group() as tasks:
            for number in range(1_000):
                tasks.start_soon(ledger.settle, item(f"r{number}"))
        assert 4 <= commits <= 20
        for state in (State.PENDING, State.DONE):
            for number in range(600):
                await ledger.note(item(f"r{number}", state=state))
    counts = read_status(tmp_path)[0].counts
    assert counts == {Kind.RUN: {State.DONE: 1_000}}


async def test_what_was_handed_over_is_written_when_the_transfer_is_cancelled(tmp_path):
    with anyio.CancelScope() as scope:
        async with opened(tmp_path) as ledger:
            for number in range(100):
                await ledger.note(item(f"r{number}"))
            scope.cancel()
            await anyio.sleep_forever()
    assert read_status(tmp_path)[0].counts[Kind.RUN] == {State.DONE: 100}


async def test_an_error_in_the_block_stays_what_it_is(tmp_path):
    async def broken() -> None:
        async with opened(tmp_path) as ledger:
            await ledger.note(item())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await broken()
    assert read_status(tmp_path)[0].counts[Kind.RUN] == {State.DONE: 1}


async def test_a_ledger_that_cannot_be_written_stops_whoever_relies_on_it(tmp_path):
    async with opened(tmp_path) as ledger:
        with ledger._store.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE item")
        with pytest.raises(Outage, match=r"cannot be written: no such table") as caught:
            await ledger.settle(item())
        assert "run the same command again" in str(caught.value)
        with pytest.raises(Outage):
            await ledger.note(item())


async def test_a_ledger_without_a_directory_goes_with_its_scratch(tmp_path):
    async with open_ledger(HERE, THERE, state_dir=None, scratch=tmp_path) as ledger:
        await ledger.settle(item(), run_line(Run(id="r", namespace=Namespace("", "p")), Namespace("e", "p")))
        assert await ledger.items("vision", "r1") == [item()]
    assert [path.name for path in tmp_path.iterdir()] == [LEDGER]


async def test_after_the_end_the_ledger_is_one_file(tmp_path):
    async with opened(tmp_path) as ledger:
        await ledger.settle(item())
    assert sorted(path.name for path in tmp_path.iterdir()) == [LEDGER, LOCK]


async def test_lines_for_other_tools_are_added_in_the_documented_form(tmp_path):
    run = Run(id="r1", namespace=Namespace("us", "vision"))
    for _ in range(2):
        async with opened(tmp_path) as ledger:
            await ledger.settle(item(), run_line(run, Namespace("me", "p")))
            await ledger.note(item(state=State.FAILED), run_line(run, Namespace("me", "p"), ["broken"]))
    told = {"src_entity": "us", "src_project": "vision", "dst_entity": "me", "dst_project": "p"}
    successes = (tmp_path / "run_successes.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in successes] == [{**told, "run_id": "r1"}] * 2
    errors = (tmp_path / "run_errors.jsonl").read_text().splitlines()
    assert json.loads(errors[0]) == {**told, "run_id": "r1", "problems": ["broken"]}


# -- durability ----------------------------------------------------------------------------------

WRITER = """
import sys, anyio
from pathlib import Path
from tests.transfer.ledger.test_ledger import item, opened

async def main():
    async with opened(Path(sys.argv[1])) as ledger, anyio.create_task_group() as tasks:
        async def write(worker):
            for number in range(10**6):
                await ledger.settle(item(f"{worker}-{number}"))
                sys.stdout.write(f"{worker}-{number}\\n")
                sys.stdout.flush()
        for worker in range(8):
            tasks.start_soon(write, worker)

anyio.run(main)
"""


@pytest.mark.parametrize("acknowledged", [1, 17, 300])
async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path, acknowledged):
    with subprocess.Popen(  # noqa: ASYNC220 - nothing else runs here
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline().strip() for _ in range(acknowledged)]
        writer.send_signal(signal.SIGKILL)
        told += [line.strip() for line in writer.stdout if line.endswith("\n")]
    assert len(told) >= acknowledged
    # The lock of the dead process is no hindrance.
    async with opened(tmp_path) as ledger:
        for run in told:
            assert await ledger.items("vision", run) == [item(run)]


# -- lock ----------------------------------------------------------------------------------------


def test_the_second_engine_is_told_who_holds_the_directory(tmp_path):
    with (
        locked(tmp_path / LOCK, Holder.me()),
        pytest.raises(ConfigError, match=rf"in use by process {os.getpid()} on .* since 2") as caught,
        locked(tmp_path / LOCK, Holder.me()),
    ):
        pytest.fail("must not be had twice")
    assert "--state-dir" in str(caught.value)
    with locked(tmp_path / LOCK, Holder.me()):
        pass


def test_a_directory_that_cannot_be_made_is_told_with_a_next_step(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--state-dir"), locked(tmp_path / "file" / LOCK, Holder.me()):
        pytest.fail("there is no such directory")


async def test_a_file_that_is_no_ledger_is_told_with_a_next_step(tmp_path):
    (tmp_path / LEDGER).write_text("notes" * 1_000)
    with pytest.raises(ConfigError, match="not a database"):
        async with opened(tmp_path):
            pytest.fail("must not be used")


# -- status --------------------------------------------------------------------------------------


def failure(number: int, message: str) -> Item:
    error = EngineError(message, side=Side.DESTINATION, subject=f"run r{number}", remedy="mend it")
    return item(f"r{number}", kind=Kind.HISTORY, state=State.FAILED, cause=Cause.of(error))


@pytest.fixture(params=["sqlite", "postgresql"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "sqlite":
        store = Store(sqlite_url(tmp_path / LEDGER))
        yield store
        store.close()
        return
    with running_postgresql(tmp_path) as uri:
        store = Store(uri)
        yield store
        store.close()


def test_status_counts_by_kind_and_state_and_groups_failures_by_cause(store):
    number = store.migration(HERE, THERE)
    assert store.migration(HERE, THERE) == number != store.migration(HERE, "memory:elsewhere")
    store.write(
        number,
        [
            *(failure(n, "too long") for n in range(7)),
            *(failure(n, "gone") for n in range(7, 9)),
            *(item(f"r{n}", state=State.FAILED) for n in range(9)),
            *(item(f"r{n}", kind=Kind.HISTORY) for n in range(9, 12)),
        ],
    )
    store.write(number, [failure(8, "too long \0")])

    first, second = status_of(store)

    assert (first.source, first.destination) == (HERE, THERE)
    assert first.counts == {
        Kind.RUN: {State.FAILED: 9},
        Kind.HISTORY: {State.FAILED: 9, State.DONE: 3},
    }
    causes = [
        (failures.cause.message, failures.count, failures.examples[0].subject) for failures in first.failures
    ]
    assert causes[0] == ("too long", 7, "vision/r0")
    assert set(causes[1:]) == {("gone", 1, "vision/r7"), ("too long \\0", 1, "vision/r8")}
    assert second.counts == {}


def test_what_is_written_can_be_read_in_any_database(store):
    number = store.migration(HERE, THERE)
    written = failure(1, "日本語")
    store.write(number, [written, item("r2")])
    assert store.items(number, "vision", "r1") == [written]
    store.write(number, [item("r1")])
    assert store.items(number, "vision", "r1") == [item("r1")]


def test_status_of_a_directory_without_a_ledger_is_told(tmp_path):
    with pytest.raises(ConfigError, match="no ledger"):
        read_status(tmp_path)


# -- fingerprints --------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(config):
    backwards = dict(reversed(config.items()))
    run = Run(id="r", namespace=Namespace("", "p"), config=config)
    assert fingerprint(run) == fingerprint(Run(id="r", namespace=Namespace("", "p"), config=backwards))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "b"},
        {"config": {"lr": "0.2"}},
        {"config": {"lr": 0.1}},
        {"summary": {"loss": math.nan}},
        {"summary": {"loss": math.inf}},
        {"summary": {"loss": -0.0}},
        {"tags": ("x",)},
        {"ended_at": 5},
        {"extra": {"artifact_uri": "elsewhere"}},
    ],
    ids=str,
)
def test_any_change_of_a_run_changes_its_fingerprint(change):
    run = Run(id="r", namespace=Namespace("", "p"), config={"lr": "0.1"}, summary={"loss": 0.0})
    assert fingerprint(run) != fingerprint(replace(run, **change))
    assert fingerprint(run) == fingerprint(replace(run, locator=object()))


async def content(*entries: ArtifactEntry) -> str | None:
    watched = ContentFingerprint(Artifact(namespace=Namespace("", "p"), name="a", type="t"))

    async def listed() -> AsyncIterator[ArtifactEntry]:
        for entry in entries:
            yield entry

    async for _ in watched.watch(listed()):
        pass
    return watched.value()


async def test_the_content_of_an_artifact_counts_in_any_order_but_each_entry_counts():
    one, two = ArtifactEntry(path="a", size=1), ArtifactEntry(path="b", size=2)
    assert await content(one, two) == await content(two, one)
    others = [(), (one,), (one, two, two), (one, ArtifactEntry(path="b", size=3))]
    assert await content(one, two) not in [await content(*entries) for entries in others]


async def test_a_listing_that_was_not_read_to_its_end_has_no_fingerprint():
    watched = ContentFingerprint(Artifact(namespace=Namespace("", "p"), name="a", type="t"))
    assert watched.value() is None
