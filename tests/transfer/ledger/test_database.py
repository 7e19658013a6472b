"""A ledger in a PostgreSQL database: how it is named, and what happens when the database goes away."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import orjson
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from engine.cli.main import app
from engine.errors import ConfigError, Outage
from engine.transfer.ledger import url as ledger_url
from engine.transfer.ledger.items import Item, Kind, State
from engine.transfer.ledger.ledger import LOCK, Ledger, open_ledger
from engine.transfer.ledger.status import read_status
from engine.transfer.ledger.store import Store
from tests.postgresql import running_postgresql

pytestmark = pytest.mark.anyio


class Server:
    """A database server that can be lost and come back."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._socket = Path(str(sa.make_url(uri).query["host"])) / ".s.PGSQL.5432"

    def cut(self) -> None:
        """End all connections."""
        engine = sa.create_engine(ledger_url.parse(self.uri))
        with engine.connect() as connection:
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            connection.exec_driver_sql(cut + " AND backend_type = 'client backend'").all()
        engine.dispose()

    @contextmanager
    def gone(self) -> Iterator[None]:
        """While in the block nobody reaches it."""
        self.cut()
        hidden = self._socket.rename(self._socket.with_suffix(".hidden"))
        try:
            yield
        finally:
            hidden.rename(self._socket)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_postgresql(tmp_path_factory.mktemp("database")) as uri:
        yield Server(uri)


def item(run: str) -> Item:
    return Item(kind=Kind.RUN, project="p", run=run, state=State.DONE, points=3)


@pytest.fixture
def destination(request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    return name


@asynccontextmanager
async def opened(
    server: Server, destination: str, directory: Path, patience_s: float = 60, notices: set[str] | None = None
) -> AsyncIterator[Ledger]:
    async with open_ledger(
        "memory:a",
        destination,
        state_dir=directory / "state",
        scratch=directory,
        url=server.uri,
        patience_s=patience_s,
        notices=notices,
    ) as ledger:
        yield ledger


async def test_only_the_files_for_other_tools_are_in_the_state_directory(server, destination, tmp_path):
    async with opened(server, destination, tmp_path) as ledger:
        await ledger.settle(item("r1"))
    async with opened(server, destination, tmp_path) as ledger:
        assert await ledger.items("p", "r1") == [item("r1")]
    assert [path.name for path in (tmp_path / "state").iterdir()] == [LOCK]


async def test_a_lost_connection_is_made_again(server, destination, tmp_path):
    async with opened(server, destination, tmp_path) as ledger:
        for number in range(3):
            await ledger.settle(item(f"r{number}"))
            server.cut()
        assert await ledger.run("p", "r2") == item("r2")
        server.cut()
        assert await ledger.items("p", "r1") == [item("r1")]


async def test_a_server_that_is_gone_is_waited_for_and_that_is_told(server, destination, tmp_path):
    notices: set[str] = set()
    async with opened(server, destination, tmp_path, notices=notices) as ledger:
        await ledger.settle(item("before"))
        async with anyio.create_task_group() as tasks:
            with server.gone():
                tasks.start_soon(ledger.settle, item("meanwhile"))
                while not notices:  # noqa: ASYNC110 - it tells nobody
                    await anyio.sleep(0.01)
                assert "does not answer" in notices.pop()
        assert await ledger.run("p", "meanwhile") == item("meanwhile")
    assert not notices


async def test_beyond_all_patience_the_transfer_stops_and_the_ledger_is_intact(
    server, destination, tmp_path, monkeypatch
):
    monkeypatch.setattr("engine.transfer.ledger.ledger.PARTING_S", 0.1)
    async with opened(server, destination, tmp_path, patience_s=0.1) as ledger:
        await ledger.settle(item("before"))
        with server.gone():
            with pytest.raises(Outage, match=r"does not answer.*run the same command again"):
                await ledger.settle(item("after"))
            with pytest.raises(Outage):
                await ledger.note(item("after"))
    status = next(found for found in read_status(tmp_path, server.uri) if found.destination == destination)
    assert status.counts == {Kind.RUN: {State.DONE: 1}}


async def test_the_end_of_a_transfer_does_not_wait_for_a_server_that_is_gone(
    server, destination, tmp_path, monkeypatch
):
    monkeypatch.setattr("engine.transfer.ledger.ledger.PARTING_S", 0.1)
    with anyio.fail_after(20):
        async with opened(server, destination, tmp_path, patience_s=3_600) as ledger:
            await ledger.settle(item("before"))
            with server.gone():
                await ledger.note(item("after"))
                ledger.close()
                await anyio.sleep(1.5)


def test_status_of_a_database_for_people_and_programs(server, destination, tmp_path):
    store = Store(server.uri)
    store.write(store.migration("memory:a", destination), [item(f"r{number}") for number in range(7)])
    store.close()

    shown = CliRunner().invoke(app, ["status", "--json"], env={"ENGINE_LEDGER": server.uri})
    assert shown.exit_code == 0, shown.output
    told = [orjson.loads(line) for line in shown.output.splitlines()]
    [status] = [status for status in told if status["destination"] == destination]
    assert (status["counts"], status["totals"]["points"]) == ({"run": {"done": 7}}, 21)
    shown = CliRunner().invoke(app, ["status", "--ledger", server.uri])
    assert f"memory:a → {destination}" in shown.output


def test_a_database_without_a_ledger_is_told(server):
    engine = sa.create_engine(ledger_url.parse(server.uri), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE empty")
    engine.dispose()
    with pytest.raises(ConfigError, match=r"no ledger in postgresql://.*/empty"):
        read_status(Path(), server.uri.replace("/postgres?", "/empty?"))


SECRETS = "postgresql://me:s3cret@127.0.0.1:1/db?password=hidden&sslmode=disable"


def test_no_password_is_ever_shown():
    with pytest.raises(ConfigError) as caught:
        Store(SECRETS)
    assert "postgresql://me:***@127.0.0.1:1/db?sslmode=disable cannot be opened" in str(caught.value)
    assert "check host, database, user and password" in str(caught.value)
    assert not any(secret in str(caught.value) for secret in ("s3cret", "hidden"))


@pytest.mark.parametrize(
    "url", ["s3cret", "mysql://me:s3cret@host/db", "postgresql://me:s3cret@host:port/db"]
)
def test_what_is_no_address_of_a_ledger_is_told(url):
    with pytest.raises(ConfigError, match="write postgresql://") as caught:
        Store(url)
    assert "s3cret" not in str(caught.value)


def test_a_driver_that_is_missing_is_told_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"pip install 'transfer-engine\[postgresql\]'"):
        Store(SECRETS)
