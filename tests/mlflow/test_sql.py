"""What is particular to stores in databases: schemas, locks, snapshots, damage, size."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import aclosing, closing, contextmanager
from math import inf, isnan, nan
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from engine.errors import AuthError, CommError, ConfigError, EngineError, Transient, Unsupported
from engine.mlflow.sql import runs as tables
from engine.mlflow.sql import sqlite as sqlite_module
from engine.mlflow.sql.heads import RELEASES
from engine.mlflow.sql.postgres import PostgresDatabase
from engine.protocols import Unreadable
from engine.records import MetricPoints, RunState, Selection
from tests.mlflow.reading import everything, labelled, losses_of, opened, points_of, runs_of
from tests.postgresql import running_postgresql
from tests.stores import BEGAN, Sql, Store, copied_to_postgresql, sqlite_store

pytestmark = pytest.mark.anyio

OLD_STORES = Path(__file__).parent / "stores"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return sqlite_store(tmp_path)


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Generator[Store]:
    """With one run of 100,000 points."""
    original = sqlite_store(tmp_path_factory.mktemp("original"))
    sql = Sql(original)
    sql.run(sql.experiment("e"), "long", points=[("m", s, BEGAN + s, s / 7) for s in range(100_000)])
    with TemporaryDirectory(prefix="postgresql-") as place, running_postgresql(Path(place)) as uri:
        yield copied_to_postgresql(original, uri.replace("postgresql:", "postgresql+psycopg:"))


def change(store: Store, *statements: str) -> None:
    with closing(sqlite3.connect(store.database)) as database, database:
        for statement in statements:
            database.execute(statement)


def fingerprint(path: Path) -> tuple[str, int, list[str]]:
    return (
        hashlib.sha256(path.read_bytes()).hexdigest(),
        path.stat().st_mtime_ns,
        sorted(each.name for each in path.parent.iterdir()),
    )


async def refusal(uri: str) -> EngineError:
    with pytest.raises(EngineError) as caught:
        async with opened(uri) as source:
            await everything(source)
    assert caught.value.side == "source"
    assert caught.value.subject
    return caught.value


class TestOldSchemas:
    """Databases that MLflow 2.9.2 and 2.22.0 made."""

    @pytest.fixture(params=["2.9.2", "2.22.0"])
    def old(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        path = tmp_path / "old.db"
        with closing(sqlite3.connect(path)) as database:
            database.executescript((OLD_STORES / f"mlflow-{request.param}.sql").read_text())
        return path

    async def test_they_are_read_whole(self, old: Path):
        async with opened(f"sqlite:///{old}") as source:
            (project,) = [p async for p in source.projects(Selection(projects=("vision/cifar",)))]
            assert project.description == "about **cifar**"
            assert project.labels == {"team": "cv"}
            runs = {run.name: run for run in await runs_of(source)}
            parent, child, gone = runs["parent"], runs["child"], runs["gone"]
            points = await points_of(source, parent)
        assert parent.config == {"lr": "0.1", "opt": "adam"}
        assert parent.labels == {"stage": "dev"}
        assert (parent.notes, parent.user) == ("first try", "alice")
        assert (parent.started_at, parent.ended_at) == (1700000000123, 1700000100999)
        assert (parent.state, child.state) == (RunState.FINISHED, RunState.FAILED)
        assert (child.parent_id, child.group) == (parent.id, "parent")
        assert gone.deleted
        (dataset,) = parent.inputs
        assert (dataset.name, dataset.digest, dataset.context) == ("train", "066351ab", "training")
        assert dataset.tags == {"owner": "me"}
        loss = [point for point in points if point[0] == "loss"]
        assert loss == [("loss", s, 1700000000500 + s * 1000, 1 / (s + 1)) for s in range(5)]
        odd = [point[1:] for point in points if point[0] == "odd"]
        assert isnan(odd[0][2])
        assert odd[0][:2] == (-1, 1700000000500)
        assert odd[1:] == [(0, 1700000000501, inf), (0, 1700000000502, -inf), (0, 1700000000503, 7.5)]
        assert (parent.summary or {})["odd"] == 7.5

    async def test_they_are_not_touched(self, old: Path):
        before = fingerprint(old)
        async with opened(f"sqlite:///{old}") as source:
            for run in await runs_of(source):
                await points_of(source, run)
        assert fingerprint(old) == before


async def test_a_current_store_is_not_touched(store: Store):
    sql = Sql(store)
    sql.run(sql.experiment("e"), "r", params={"a": "1"}, points=[("m", 0, BEGAN, 1.0)])
    before = fingerprint(store.database)
    async with opened(store.uri) as source:
        for run in await runs_of(source):
            await points_of(source, run)
    assert fingerprint(store.database) == before


class TestSchemaVersion:
    def head(self, store: Store, revision: str) -> None:
        change(store, f"UPDATE alembic_version SET version_num = '{revision}'")

    def test_the_schema_of_the_installed_mlflow_is_known(self, store: Store):
        with closing(sqlite3.connect(store.database)) as database:
            ((head,),) = database.execute("SELECT version_num FROM alembic_version").fetchall()
        assert head in RELEASES

    def test_every_migration_of_the_installed_mlflow_is_known(self):
        import mlflow.store.db_migrations.versions as versions

        revisions = {path.name.split("_")[0] for path in Path(versions.__path__[0]).glob("[0-9a-f]*_*.py")}
        old = [revision for revision in revisions if revision not in RELEASES]
        assert len(RELEASES) >= 49
        assert len(old) == 18, "1.x had 18 migrations before the schema of 2.0"

    async def test_one_from_the_future_is_refused(self, store: Store):
        self.head(store, "0123456789ab")
        error = await refusal(store.uri)
        assert isinstance(error, Unsupported)
        assert "0123456789ab" in str(error)
        assert "http" in (error.remedy or "")

    async def test_one_of_mlflow_1_is_refused_with_a_way_out(self, store: Store):
        self.head(store, "bd07f7e963c5")
        error = await refusal(store.uri)
        assert isinstance(error, Unsupported)
        assert "mlflow db upgrade" in (error.remedy or "")

    async def test_a_missing_column_is_refused(self, store: Store):
        change(store, "ALTER TABLE latest_metrics RENAME COLUMN is_nan TO was_nan")
        error = await refusal(store.uri)
        assert isinstance(error, ConfigError)
        assert "latest_metrics.is_nan" in str(error)


class TestBadFiles:
    async def test_a_missing_file(self, tmp_path: Path):
        error = await refusal(f"sqlite:///{tmp_path}/none.db")
        assert isinstance(error, ConfigError)
        assert not (tmp_path / "none.db").exists()

    async def test_a_directory(self, tmp_path: Path):
        assert isinstance(await refusal(f"sqlite:///{tmp_path}"), ConfigError)

    async def test_no_database(self, tmp_path: Path):
        (tmp_path / "x.db").write_bytes(b"hello" * 1000)
        error = await refusal(f"sqlite:///{tmp_path}/x.db")
        assert isinstance(error, ConfigError)
        assert "not an SQLite database" in str(error)

    @pytest.mark.parametrize("content", ["CREATE TABLE t (a)", "CREATE TABLE alembic_version (version_num)"])
    async def test_a_database_of_something_else(self, tmp_path: Path, content: str):
        with closing(sqlite3.connect(tmp_path / "x.db")) as database:
            database.execute(content)
        error = await refusal(f"sqlite:///{tmp_path}/x.db")
        assert isinstance(error, ConfigError)
        assert "not an MLflow" in str(error)

    async def test_a_truncated_database(self, store: Store):
        os.truncate(store.database, store.database.stat().st_size // 2)
        error = await refusal(store.uri)
        assert isinstance(error, CommError)
        assert "damaged" in str(error)

    async def test_odd_paths_work(self, store: Store, tmp_path: Path):
        path = tmp_path / "a dir#1?%41" / "ü.db"
        path.parent.mkdir()
        shutil.copyfile(store.database, path)
        async with opened(f"sqlite:///{str(path).replace('?', '%3F').replace('%41', '%2541')}") as source:
            assert await everything(source) == []


class TestBadRows:
    async def test_a_run_that_cannot_be_read_is_named_and_the_others_arrive(self, store: Store):
        sql = Sql(store)
        experiment = sql.experiment("e")
        for n in range(5):
            sql.run(experiment, f"r{n}", points=[("m", 0, BEGAN, n / 3)])
        change(
            store,
            f"UPDATE runs SET start_time = 'yesterday' WHERE run_uuid = '{store.runs['r1']}'",
            f"UPDATE latest_metrics SET value = 'much' WHERE run_uuid = '{store.runs['r3']}'",
        )
        async with opened(store.uri) as source:
            found = await everything(source)
        bad = {run.id: str(run.error) for run in found if isinstance(run, Unreadable)}
        assert bad.keys() == {store.runs["r1"], store.runs["r3"]}
        assert "value" in bad[store.runs["r3"]]
        assert {run.id for run in found} == {store.runs[f"r{n}"] for n in range(5)}
        good = [run for run in found if not isinstance(run, Unreadable)]
        assert sorted((run.summary or {})["m"] for run in good) == [0.0, 2 / 3, 4 / 3]

    @pytest.mark.parametrize("column", ["value", "step", "key"])
    async def test_a_history_with_values_of_a_wrong_type_is_refused(self, store: Store, column: str):
        sql = Sql(store)
        sql.run(sql.experiment("e"), "r", points=[("m", s, BEGAN, 1.0) for s in range(3)])
        change(store, f"UPDATE metrics SET {column} = x'ff' WHERE step = 1")
        async with opened(store.uri) as source:
            (run,) = await runs_of(source)
            with pytest.raises(CommError, match=run.id):
                await points_of(source, run)

    async def test_bytes_that_are_no_text_are_replaced_and_declared(self, store: Store):
        sql = Sql(store)
        sql.run(sql.experiment("e"), "r", params={"a": "b", "nul": "x\0y"}, name="n\0ame")
        change(store, "UPDATE params SET value = CAST(x'6f6bff' AS TEXT) WHERE key = 'a'")
        async with opened(store.uri) as source:
            (run,) = await runs_of(source)
            assert run.config == {"a": "ok\ufffd", "nul": "x\0y"}
            assert run.name == "n\ufffdame"
            assert losses_of(source) == {"text_not_utf8": 1, "nul_replaced": 1}


class TestHistory:
    async def test_every_point_arrives_with_its_value(self, store: Store):
        points = [
            ("m", -5, BEGAN, 1.0),
            ("m", -5, BEGAN + 1, 2.0),
            ("m", 7, BEGAN - 9, 0.1 + 0.2),
            ("m", 3, 0, 5e-324),
            ("", 2**63 - 1, BEGAN, inf),
            ("é\n", 0, BEGAN, -inf),
            ("n", 0, BEGAN, nan),
        ]
        sql = Sql(store)
        sql.run(sql.experiment("e"), "r", points=points)
        async with opened(store.uri) as source:
            (run,) = await runs_of(source)
            # By their text, because NaN equals nothing.
            assert sorted(map(repr, await points_of(source, run))) == sorted(map(repr, points))
            assert losses_of(source) == {"inf_from_dbl_max": 2}
            assert run.summary is not None
            assert run.summary[""] == inf

    async def test_points_arrive_that_latest_metrics_does_not_know(self, store: Store):
        sql = Sql(store)
        sql.run(sql.experiment("e"), "r", points=[("m", 0, BEGAN, 1.0)])
        change(store, "DELETE FROM latest_metrics")
        async with opened(store.uri) as source:
            (run,) = await runs_of(source)
            assert await points_of(source, run) == [("m", 0, BEGAN, 1.0)]

    async def test_a_long_one_comes_in_chunks(self, store: Store):
        count = 2 * MetricPoints.CHUNK_POINTS + 5
        sql = Sql(store)
        sql.run(sql.experiment("e"), "long", points=[("m", s, BEGAN + s, s / 3) for s in range(count)])
        sql.run(sql.experiment("f"), "other", points=[("m", s, BEGAN, 0.5) for s in range(10)])
        async with opened(store.uri) as source:
            run = (await labelled(source))["long"]
            sizes = [chunk.batch.num_rows async for chunk in source.history(run)]  # type: ignore[union-attr]
            assert sizes == [MetricPoints.CHUNK_POINTS, MetricPoints.CHUNK_POINTS, 5]
            assert await points_of(source, run) == [("m", s, BEGAN + s, s / 3) for s in range(count)]

    async def test_a_writer_is_not_kept_waiting_while_a_history_is_read(self, store: Store):
        sql = Sql(store)
        points = [("m", s, BEGAN + s, 0.5) for s in range(MetricPoints.CHUNK_POINTS + 1)]
        run_id = sql.run(sql.experiment("e"), "long", points=points)
        async with opened(store.uri) as source:
            (run,) = await runs_of(source)
            async with aclosing(source.history(run)) as history:
                await anext(history)
                outside(store, f"INSERT INTO metrics VALUES ('late', 1.0, 1, '{run_id}', 0, 0)")
                rest = [len(chunk.batch) async for chunk in history]  # type: ignore[union-attr]
        assert rest == [2]

    async def test_it_is_not_continued_after_rows_were_renumbered(self, store: Store):
        sql = Sql(store)
        points = [("m", s, BEGAN + s, 0.5) for s in range(MetricPoints.CHUNK_POINTS + 1)]
        sql.run(sql.experiment("e"), "long", points=points)
        async with opened(store.uri) as source:
            (run,) = await runs_of(source)
            history = source.history(run)
            await anext(history)
            outside(store, "VACUUM")
            with pytest.raises(Transient, match="vacuumed"):
                await anext(history)


async def test_a_store_in_wal_mode_is_read_while_it_is_written(store: Store):
    sql = Sql(store)
    run_id = sql.run(sql.experiment("e"), "r")
    row = f"(key, value, timestamp, run_uuid, step, is_nan) VALUES ('m', 2, 1, '{run_id}', 0, 0)"
    inserts = [f"INSERT INTO {table} {row}" for table in ("metrics", "latest_metrics")]
    with holding(store, "PRAGMA journal_mode = wal", *inserts):
        assert store.database.with_name("mlflow.db-wal").stat().st_size
        async with opened(store.uri) as source:
            (run,) = await runs_of(source)
            assert await points_of(source, run) == [("m", 0, 1, 2.0)]


async def test_a_store_that_stays_locked_is_reported_as_such(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite_module, "BUSY_TIMEOUT_S", 0.1)
    with holding(store, "BEGIN EXCLUSIVE"):
        error = await refusal(store.uri)
    assert isinstance(error, Transient)
    assert "locked" in str(error)


def outside(store: Store, statement: str) -> None:
    """Run a statement from another process, as a training job would; it does not wait for locks."""
    with holding(store, statement):
        pass


@contextmanager
def holding(store: Store, *statements: str) -> Generator[None]:
    """Another process that has run the statements and stays connected; it does not wait for locks."""
    script = (
        "import sqlite3, sys; d = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0);"
        "[d.execute(s).fetchall() for s in sys.argv[2:]]; print('done', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(store.database), *statements],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        try:
            yield
        finally:
            process.communicate()


async def test_paging_gives_the_same_runs_whatever_the_size_of_pages(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    sql = Sql(store)
    experiment = sql.experiment("e")
    for n in range(23):
        began = None if n % 7 == 0 else BEGAN + n // 3
        sql.run(experiment, f"r{n}", began=began, params={f"p{i}": "v" for i in range(n)})
    async with opened(store.uri) as source:
        expected = await runs_of(source)
        for name, size in (("ID_PAGE", 4), ("GROUP_RUNS", 3), ("GROUP_ROWS", 10)):
            monkeypatch.setattr(tables, name, size)
            assert await runs_of(source) == expected
    assert len(expected) == 23
    order = [(run.started_at or 0, run.id) for run in expected]
    assert order == sorted(order)


async def test_experiments_of_one_name_in_two_workspaces_stay_apart(store: Store):
    sql = Sql(store)
    for workspace in ("default", "team"):
        sql.run(sql.experiment(f"e of {workspace}"), workspace)
        change(
            store, f"UPDATE experiments SET workspace = '{workspace}', name = 'e' WHERE name LIKE 'e of %'"
        )
    async with opened(store.uri) as source:
        runs = await labelled(source)
    assert {label: run.namespace.path for label, run in runs.items()} == {"default": "e", "team": "team/e"}


class TestPostgresql:
    async def test_it_is_read_in_read_only_snapshots(self, postgresql: Store):
        database = PostgresDatabase(postgresql.uri)
        query = "SELECT current_setting('transaction_read_only'), current_setting('transaction_isolation')"
        with database.session() as session:
            assert session.rows(query, "tt") == [("on", "repeatable read")]
        with pytest.raises(Exception, match="read-only transaction"), database.session() as session:
            session.rows("DELETE FROM metrics RETURNING key", "t")
        database.close()

    async def test_a_history_left_early_releases_its_connection(self, postgresql: Store):
        async with opened(postgresql.uri) as source:
            (run,) = await runs_of(source)
            async with aclosing(source.history(run)) as history:
                await anext(history)
                assert self.busy(postgresql) == 1
            assert self.busy(postgresql) == 0
            assert len(await points_of(source, run)) == 100_000
            async with aclosing(source.history(run)) as history:
                sizes = [len(chunk.batch) async for chunk in history]  # type: ignore[union-attr]
            assert max(sizes) <= MetricPoints.CHUNK_POINTS

    def busy(self, postgresql: Store) -> int:
        database = PostgresDatabase(postgresql.uri)
        with database.session() as session:
            ((count,),) = session.rows(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'transfer-engine' "
                "AND state <> 'idle' AND pid <> pg_backend_pid()",
                "i",
            )
        database.close()
        assert isinstance(count, int)
        return count

    async def test_a_wrong_database_is_refused(self, postgresql: Store):
        error = await refusal(postgresql.uri.replace("/postgres?", "/nothing?"))
        assert isinstance(error, ConfigError)

    async def test_a_user_without_rights_is_refused(self, postgresql: Store):
        error = await refusal(postgresql.uri.replace("postgres:@", "nobody:@"))
        assert isinstance(error, AuthError)

    async def test_no_server_is_a_passing_error(self, monkeypatch: pytest.MonkeyPatch):
        error = await refusal("postgresql://ann:s3cret@127.0.0.1:1/ml")
        assert isinstance(error, Transient)
        assert "s3cret" not in f"{error} {error!r} {error.subject}"
