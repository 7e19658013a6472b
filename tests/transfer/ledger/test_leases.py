"""Who may work on a migration, and on which of its runs, in any database that holds a ledger."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from engine.errors import ConfigError, Outage
from engine.transfer.ledger.holder import Holder
from engine.transfer.ledger.leases import Claim, Leases
from engine.transfer.ledger.ledger import LEDGER
from engine.transfer.ledger.schema import CLAIM
from engine.transfer.ledger.store import Store, sqlite_url
from tests.postgresql import running_postgresql

LEASE_S = 0.4
A, B, C = ("vision", "a"), ("vision", "b"), ("text \0", "a")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("ledger")
    if request.param == "sqlite":
        yield sqlite_url(directory / LEDGER)
    else:
        with running_postgresql(directory) as uri:
            yield uri


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store(url)
    yield store
    store.close()


@pytest.fixture
def migration(store: Store, request: pytest.FixtureRequest) -> int:
    return store.migration("memory:here", request.node.name)


def sharer(store: Store, migration: int, *, elsewhere: bool = False, lease_s: float = LEASE_S) -> Leases:
    """An engine that takes part; ``elsewhere``, on a machine whose processes cannot be seen."""
    holder = Holder.me("engine migrate", shares=True)
    leases = Leases(
        store, migration, replace(holder, processes="elsewhere") if elsewhere else holder, lease_s
    )
    leases.join()
    return leases


def end(leases: Leases, store: Store, key: tuple[str, str], *, proven: bool) -> None:
    with store.writing() as connection:
        leases.renew(connection)
        leases.end(connection, [(key, proven)])


def claims(store: Store, migration: int) -> int:
    with store.reading() as connection:
        query = sa.select(sa.func.count()).select_from(CLAIM).where(CLAIM.c.migration == migration)
        return int(connection.execute(query).scalar_one())


def test_who_is_alone_keeps_others_out_and_says_who_it_is(store, migration):
    first = Leases(store, migration, Holder.me("engine migrate a b"))
    first.join()
    for shares in (False, True):
        with pytest.raises(ConfigError, match=rf"in use by process {os.getpid()} on .*: engine migrate a b"):
            Leases(store, migration, Holder.me(shares=shares)).join()
    first.leave()
    sharer(store, migration).leave()


def test_who_wants_to_be_alone_is_told_to_join(store, migration):
    first = sharer(store, migration)
    with pytest.raises(ConfigError, match="add --share"):
        Leases(store, migration, Holder.me()).join()
    first.leave()


def test_another_migration_in_the_same_ledger_is_nobodys_business(store, migration):
    Leases(store, migration, Holder.me()).join()
    Leases(store, store.migration("memory:here", "memory:elsewhere"), Holder.me()).join()


def test_a_run_is_in_one_hand_at_a_time(store, migration):
    first, second = sharer(store, migration), sharer(store, migration)
    assert first.claim([B, A]) == {A: Claim.MINE, B: Claim.MINE}
    assert second.claim([A, B, C]) == {A: Claim.ELSEWHERE, B: Claim.ELSEWHERE, C: Claim.MINE}
    end(first, store, A, proven=True)
    end(first, store, B, proven=False)
    assert second.claim([A, B]) == {A: Claim.MINE, B: Claim.TRIED}
    assert first.claim([B]) == {B: Claim.TRIED}
    assert [other.pid for other in first.others()] == [os.getpid()]


def test_nothing_is_left_when_the_last_engine_leaves(store, migration):
    first, second = sharer(store, migration), sharer(store, migration)
    first.claim([A, B])
    end(first, store, B, proven=False)
    first.leave()
    assert second.claim([A, B]) == {A: Claim.MINE, B: Claim.TRIED}
    second.leave()
    assert claims(store, migration) == 0


def test_what_a_silent_engine_had_in_hand_can_be_had_when_its_lease_is_over(store, migration):
    first, second = sharer(store, migration, elsewhere=True), sharer(store, migration)
    first.claim([A, B])
    end(first, store, B, proven=False)
    assert second.claim([A]) == {A: Claim.ELSEWHERE}
    began = time.monotonic()
    while second.claim([A]) == {A: Claim.ELSEWHERE}:
        time.sleep(0.02)
    assert 0.5 * LEASE_S < time.monotonic() - began < 10 * LEASE_S
    assert second.claim([B]) == {B: Claim.TRIED}
    with pytest.raises(Outage, match="given to others"):
        end(first, store, A, proven=True)
    assert second.claim([A]) == {A: Claim.MINE}


def test_who_speaks_up_in_time_keeps_its_place(store, migration):
    first, second = sharer(store, migration, elsewhere=True), sharer(store, migration)
    first.claim([A])
    for _ in range(4):
        time.sleep(LEASE_S / 2)
        first.beat()
        assert second.claim([A]) == {A: Claim.ELSEWHERE}


def test_who_was_cut_off_itself_does_not_judge_others(store, migration):
    first, second = sharer(store, migration, elsewhere=True), sharer(store, migration, elsewhere=True)
    first.claim([A])
    time.sleep(1.5 * LEASE_S)  # nobody could reach the database
    assert second.claim([A]) == {A: Claim.ELSEWHERE}
    first.beat()
    assert second.claim([A]) == {A: Claim.ELSEWHERE}


def test_a_process_on_this_machine_that_is_gone_is_not_waited_for(store, migration):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True)
    gone = replace(Holder.me(shares=False), pid=int(ended.stdout))
    Leases(store, migration, gone, lease_s=3_600).join()
    sharer(store, migration)


def test_a_file_is_not_shared_by_machines(store, migration):
    Leases(store, migration, replace(Holder.me(shares=True), machine="another")).join()
    second = Leases(store, migration, Holder.me(shares=True))
    if store.is_sqlite:
        with pytest.raises(ConfigError, match="--ledger postgresql"):
            second.join()
    else:
        second.join()


def test_a_lock_names_who_has_it_in_words_that_can_be_acted_on(tmp_path: Path):
    text = str(
        replace(Holder.me("engine migrate a b"), pid=7, host="node1", since="2026-01-01T00:00:00+00:00")
    )
    assert text == "process 7 on node1 since 2026-01-01T00:00:00+00:00: engine migrate a b"
