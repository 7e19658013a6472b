"""SQLite files, opened read-only.

A history is read in chunks by ``rowid``, each in its own short transaction. That is an index walk without a
sort on every schema since MLflow 1.27, in the order in which the points were written, which also is the order
of the pages on disk: less work than by (key, step). And a training job that writes to the same file is
never locked out for longer than one chunk takes.
Only ADBC's SQLite is used, never Python's beside it: two copies of SQLite in one process do not see each
other's locks (https://www.sqlite.org/howtocorrupt.html, 2.2.1). For the same reason a store is not to be read
while the very same process writes to it; any other process may.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import adbc_driver_sqlite.dbapi
import pyarrow as pa
import sqlalchemy as sa
from adbc_driver_manager import dbapi

from engine.errors import CommError, ConfigError, EngineError, Side, Transient
from engine.mlflow.sql.adbc import AdbcDatabase, AdbcSession, execute
from engine.records import MetricPoints

BUSY_TIMEOUT_S = 30
"""How long to wait for a writer. MLflow's own writes take milliseconds."""

# What fits in the processor's cache: 20 % faster than a chunk at once.
_BATCH_ROWS = {"adbc.sqlite.query.batch_rows": "16384"}
_BEFORE_ANY_ROW = -(2**63)

_CHUNK = "FROM metrics WHERE run_uuid = ? AND rowid > ? ORDER BY rowid LIMIT ?"
_POINTS = f"SELECT key, step, timestamp, value, is_nan {_CHUNK}"
# Told apart because a fifth column of results costs more than this walk over the index alone.
_LAST_ROW = f"SELECT max(rowid) FROM (SELECT rowid {_CHUNK})"  # noqa: S608 - constants only


class SqliteDatabase(AdbcDatabase):
    """An ``sqlite:///`` URL as SQLAlchemy reads it: a relative path, or with a fourth slash an absolute one.

    Raises:
        ConfigError: the URL names no file.
    """

    product = "MLflow store in SQLite"
    begin = "BEGIN"
    columns = (
        "SELECT t.name, c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'"
    )
    start_time = "CASE typeof(start_time) WHEN 'integer' THEN start_time ELSE 0 END"

    def __init__(self, uri: str) -> None:
        super().__init__()
        self.path = _path_of(uri)
        self.uri = f"sqlite:///{self.path}"

    def connect(self) -> dbapi.Connection:
        if not self.path.is_file():
            raise ConfigError(
                "there is no such file"
                if not self.path.exists()
                else "this is a directory, not a database file",
                side=Side.SOURCE,
                subject=str(self.path),
                remedy="check the path; sqlite:///name is relative to here, sqlite:////name is absolute",
            )
        connection = adbc_driver_sqlite.dbapi.connect(
            f"file:{quote(str(self.path.absolute()))}?mode=ro", autocommit=True
        )
        execute(connection, f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
        return connection

    def points(self, run_id: str) -> Generator[pa.RecordBatch]:
        last, layout = _BEFORE_ANY_ROW, None
        complete = False
        while not complete:
            chunk: list[str | int] = [run_id, last, MetricPoints.CHUNK_POINTS]
            with self.transaction() as connection:
                session = AdbcSession(connection, self)
                # VACUUM gives rows new ids, and advances this number.
                ((found,),) = session.rows("PRAGMA schema_version", "i")
                with connection.cursor(adbc_stmt_kwargs=_BATCH_ROWS) as cursor:
                    cursor.execute(_POINTS, chunk)
                    table = cursor.fetch_arrow_table()
                complete = table.num_rows < MetricPoints.CHUNK_POINTS
                if not complete:
                    ((last,),) = session.rows(_LAST_ROW, "i", chunk)
            if layout not in (None, found):
                raise Transient(
                    "the database was vacuumed or upgraded while a history was read",
                    side=Side.SOURCE,
                    subject=str(self.path),
                )
            layout = found
            if table.num_rows:
                yield from table.combine_chunks().to_batches()

    def explain(self, error: Exception) -> EngineError | None:
        if not isinstance(error, dbapi.Error):
            return None
        message, subject = str(error), str(self.path)
        if "is locked" in message or "is busy" in message:
            return Transient(
                f"the database stayed locked by a writer for {BUSY_TIMEOUT_S} s",
                side=Side.SOURCE,
                subject=subject,
                remedy="pause the job that writes to it, or migrate from a copy",
                exc=error,
            )
        if "file is not a database" in message:
            return ConfigError(
                "the file is not an SQLite database, or is encrypted",
                side=Side.SOURCE,
                subject=subject,
                remedy="check the path",
                exc=error,
            )
        if "failed to open" in message or "unable to open" in message:
            return ConfigError(
                "the file cannot be opened",
                side=Side.SOURCE,
                subject=subject,
                remedy="check that you may read it, and, if it is in WAL mode, write to its directory",
                exc=error,
            )
        if "malformed" in message or "disk I/O error" in message:
            return CommError(
                f"the database is damaged: {message}",
                side=Side.SOURCE,
                subject=subject,
                remedy="recover a copy with `sqlite3 FILE .recover` and migrate from that",
                exc=error,
            )
        return CommError(
            f"the database refused a query: {message}", side=Side.SOURCE, subject=subject, exc=error
        )


def _path_of(uri: str) -> Path:
    try:
        name = sa.make_url(uri).database
    except sa.exc.ArgumentError as error:
        raise ConfigError(
            f"{uri!r} is not a database URL", side=Side.SOURCE, remedy="write sqlite:///path/to/mlflow.db"
        ) from error
    if name and name.startswith("file:"):
        name = unquote(urlsplit(name).path)
    if not name or name == ":memory:":
        raise ConfigError(
            f"{uri!r} names no file", side=Side.SOURCE, remedy="write sqlite:///path/to/mlflow.db"
        )
    return Path(name)
