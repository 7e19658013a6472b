"""MySQL's dialect, on a real server where one is installed; CI images mostly have none."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pymysql
import pytest
from mlflow import MlflowClient

from engine.errors import AuthError, ConfigError, Transient
from engine.mlflow.source import MlflowSource
from engine.mlflow.sql.mysql import MysqlDatabase
from engine.protocols import SystemOptions
from engine.records import Selection
from tests.conformance import SourceConformance, context
from tests.mlflow.reading import opened, points_of, runs_of
from tests.stores import Store, ordinary_store

__all__ = ["context"]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("mariadbd") is None, reason="needs mariadb-server"),
]

LOGIN = "ann:s%3Cret@localhost"


@pytest.fixture(scope="module")
def store() -> Generator[Store]:
    """An ordinary store in MariaDB, and a user ``ann`` who may only read it."""
    with TemporaryDirectory(prefix="mariadb-") as place:
        data, socket = Path(place) / "data", Path(place) / "socket"
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}",
             "--auth-root-authentication-method=normal"],
            check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        command = ["mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={socket}"]
        with subprocess.Popen([*command, "--skip-networking"], stderr=subprocess.PIPE, text=True) as server:
            try:
                assert server.stderr is not None
                assert any("ready for connections" in line for line in server.stderr)
                with (
                    closing(pymysql.connect(unix_socket=str(socket), user="root")) as root,
                    root.cursor() as cursor,
                ):
                    cursor.execute("CREATE DATABASE ml")
                    cursor.execute("CREATE USER ann@localhost IDENTIFIED BY 's<ret'")
                    cursor.execute("GRANT SELECT ON ml.* TO ann@localhost")
                writable = Store(
                    f"mysql+pymysql://root@localhost/ml?unix_socket={socket}", Path(place) / "served"
                )
                writable.served.mkdir()
                ordinary_store(writable)
                yield writable
            finally:
                server.terminate()


def readable(store: Store, login: str = LOGIN) -> str:
    return store.uri.replace("root@localhost", login)


class TestMysql(SourceConformance):
    @pytest.fixture
    def source(self, store: Store) -> MlflowSource:
        options = SystemOptions(artifact_roots={"mlflow-artifacts:": str(store.served)})
        return MlflowSource(readable(store), options)


async def test_every_run_is_as_mlflow_tells_it(store: Store):
    client = MlflowClient(store.uri)
    async with opened(readable(store)) as source:
        runs = await runs_of(source)
        assert {run.id for run in runs} == set(store.runs.values())
        for run in runs:
            witness = client.get_run(run.id)
            assert run.config == witness.data.params
            assert run.summary == witness.data.metrics
            assert (run.started_at, run.ended_at) == (witness.info.start_time, witness.info.end_time)
            assert await points_of(source, run) == sorted(
                (metric.key, metric.step, metric.timestamp, metric.value)
                for key in witness.data.metrics
                for metric in client.get_metric_history(run.id, key)
            )


def test_it_is_read_in_read_only_transactions(store: Store):
    database = MysqlDatabase(store.uri)
    with pytest.raises(pymysql.Error, match="READ ONLY"), database.session() as session:
        session.rows("DELETE FROM metrics", "")
    database.close()


async def test_logins_and_databases_that_do_not_fit_are_refused(store: Store):
    for uri, error in (
        (readable(store, "ann:wrong@localhost"), AuthError),
        (store.uri.replace("/ml?", "/nothing?"), ConfigError),
        ("mysql://ann:s3cret@127.0.0.1:1/ml", Transient),
    ):
        with pytest.raises(error) as caught:
            async with opened(uri) as source:
                [p async for p in source.projects(Selection())]
        assert "s3cret" not in str(caught.value)
