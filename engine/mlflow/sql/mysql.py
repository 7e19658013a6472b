"""MySQL and MariaDB, read in REPEATABLE READ READ ONLY transactions through PyMySQL."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pymysql
import sqlalchemy as sa
from pymysql.cursors import SSCursor

from engine.errors import AuthError, CommError, ConfigError, EngineError, Side, Transient
from engine.mlflow.sql.database import Arguments, Pool, Row
from engine.records import MetricPoints

CONNECT_TIMEOUT_S = 10

_POINTS = 'SELECT "key", step, timestamp, value, is_nan FROM metrics WHERE run_uuid = %s'
_POINT_TYPES = (pa.string(), pa.int64(), pa.int64(), pa.float64(), pa.int8())
_DENIED = frozenset({1044, 1045, 1142, 1143, 1698})
_UNKNOWN_DATABASE = 1049
# Too many connections, deadlock, lock wait timeout, and all that the client itself reports (2000 and up).
_PASSING = frozenset({1040, 1053, 1203, 1205, 1213})


class MysqlDatabase:
    """A ``mysql://`` URL as SQLAlchemy reads it; a driver name in the scheme is ignored.

    TLS follows the URL's ``ssl_ca``, ``ssl_cert``, ``ssl_key``, or MLflow's variables
    ``MLFLOW_MYSQL_SSL_CA``, ``_CERT``, ``_KEY``.

    Raises:
        ConfigError: the URL is malformed.
    """

    product = "MLflow store in MySQL"
    start_time = "COALESCE(start_time, 0)"
    columns = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()"

    def __init__(self, uri: str) -> None:
        try:
            self._url = sa.make_url(re.sub(r"^mysql(\+\w+)?:", "mysql:", uri))
        except (sa.exc.ArgumentError, ValueError) as error:
            raise ConfigError(
                "the MySQL URL is malformed",
                side=Side.SOURCE,
                remedy="write mysql://user:password@host:3306/database, special characters percent-encoded",
            ) from error
        self.uri = self._url._replace(password=None).render_as_string()
        self._pool: Pool[pymysql.Connection[Any]] = Pool(self._connect)

    def _connect(self) -> pymysql.Connection[Any]:
        url = self._url
        options = {name: value for name, value in url.query.items() if isinstance(value, str)}
        return pymysql.connect(
            host=url.host or "localhost",
            port=url.port or 3306,
            unix_socket=options.get("unix_socket"),
            user=url.username,
            password=url.password or "",
            database=url.database,
            charset="utf8mb4",
            sql_mode="ANSI_QUOTES",
            connect_timeout=CONNECT_TIMEOUT_S,
            ssl=_tls(options),
            cursorclass=SSCursor,
        )

    @contextmanager
    def _transaction(self) -> Iterator[pymysql.Connection[Any]]:
        with self._pool.lease() as connection:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                cursor.execute("START TRANSACTION READ ONLY")
            yield connection
            connection.commit()

    @contextmanager
    def session(self) -> Iterator[MysqlSession]:
        with self._transaction() as connection:
            yield MysqlSession(connection)

    def points(self, run_id: str) -> Generator[pa.RecordBatch]:
        # An unbuffered cursor that is left early must read the rest of its rows when it is closed;
        # the pool closes the whole connection instead.
        with self._transaction() as connection:
            cursor = connection.cursor()
            cursor.execute(_POINTS, [run_id])
            while rows := cursor.fetchmany(MetricPoints.CHUNK_POINTS):
                yield pa.RecordBatch.from_arrays(
                    [
                        pa.array(column, kind)
                        for column, kind in zip(zip(*rows, strict=True), _POINT_TYPES, strict=True)
                    ],
                    names=["key", "step", "timestamp", "value", "is_nan"],
                )
            cursor.close()

    def explain(self, error: Exception) -> EngineError | None:
        if not isinstance(error, pymysql.Error):
            return None
        code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        message = str(error.args[-1]) if error.args else type(error).__name__
        if code in _DENIED:
            return AuthError(
                f"MySQL refused: {message}",
                side=Side.SOURCE,
                subject=self.uri,
                remedy="check user and password in the URL, and that the user may SELECT",
                exc=error,
            )
        if code == _UNKNOWN_DATABASE:
            return ConfigError(
                message, side=Side.SOURCE, subject=self.uri, remedy="check the end of the URL", exc=error
            )
        if code in _PASSING or code >= 2000 or not code:
            return Transient(
                f"MySQL cannot be reached or gave up: {message}",
                side=Side.SOURCE,
                subject=self.uri,
                remedy="check host and port",
                exc=error,
            )
        return CommError(f"MySQL refused a query: {message}", side=Side.SOURCE, subject=self.uri, exc=error)

    def close(self) -> None:
        self._pool.close()


class MysqlSession:
    """Statements inside a transaction. The server keeps every column to its type."""

    def __init__(self, connection: pymysql.Connection[Any]) -> None:
        self._connection = connection

    def rows(self, sql: str, kinds: str, args: Arguments = ()) -> list[Row]:  # noqa: ARG002
        with self._connection.cursor() as cursor:
            cursor.execute(sql.replace("?", "%s"), list(args))
            return list(cursor.fetchall())


def _tls(options: dict[str, str]) -> ssl.SSLContext | None:
    """The TLS settings of the URL or MLflow's environment; None if there are none."""

    def setting(name: str) -> str | None:
        return options.get(f"ssl_{name}") or os.environ.get(f"MLFLOW_MYSQL_SSL_{name.upper()}")

    authority, certificate = setting("ca"), setting("cert")
    if not authority and not certificate:
        return None
    context = ssl.create_default_context(cafile=authority)
    if certificate:
        context.load_cert_chain(certificate, setting("key"))
    return context
