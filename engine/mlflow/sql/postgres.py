"""PostgreSQL, read in REPEATABLE READ READ ONLY transactions.

A history comes by binary COPY, which is what ADBC uses for a statement without parameters: streamed, with
neither side holding it whole.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from itertools import count

import adbc_driver_postgresql.dbapi
import pyarrow as pa
import sqlalchemy as sa
from adbc_driver_manager import dbapi

from engine.errors import AuthError, CommError, ConfigError, EngineError, Side, Transient
from engine.mlflow.sql.adbc import AdbcDatabase
from engine.mlflow.sql.database import slices
from engine.records import MetricPoints

CONNECT_TIMEOUT_S = 10
# About 60,000 points.
_BATCH_BYTES = {"adbc.postgresql.batch_size_hint_bytes": str(3 * 1024 * 1024)}
_SECRET_OPTIONS = ("password", "sslpassword", "sslkey")
_LOGIN_REFUSED = ("authentication failed", "no password supplied", "no pg_hba.conf entry", 'FATAL:  role "')
_POINTS = "SELECT key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = "


class PostgresDatabase(AdbcDatabase):
    """A ``postgresql://`` URL as SQLAlchemy and libpq read it; a driver name in the scheme is ignored.

    Raises:
        ConfigError: the URL is malformed.
    """

    product = "MLflow store in PostgreSQL"
    begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    columns = (
        "SELECT table_name::text, column_name::text FROM information_schema.columns "
        "WHERE table_schema = ANY (current_schemas(false))"
    )
    start_time = "COALESCE(start_time, 0)"

    def __init__(self, uri: str) -> None:
        super().__init__()
        try:
            url = sa.make_url(re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql:", uri))
        except (sa.exc.ArgumentError, ValueError) as error:
            raise ConfigError(
                "the PostgreSQL URL is malformed",
                side=Side.SOURCE,
                remedy="write postgresql://user:password@host:5432/database, percent-encoded",
            ) from error
        self.uri = url._replace(password=None).difference_update_query(_SECRET_OPTIONS).render_as_string()
        defaults = {
            "connect_timeout": str(CONNECT_TIMEOUT_S),
            "client_encoding": "UTF8",
            "application_name": "transfer-engine",
        }
        self._url = url.set(query={**defaults, **url.query}).render_as_string(hide_password=False)

    def connect(self) -> dbapi.Connection:
        return adbc_driver_postgresql.dbapi.connect(self._url, autocommit=True)

    def translate(self, sql: str) -> str:
        numbers = count(1)
        return re.sub(r"\?", lambda _: f"${next(numbers)}", sql)

    def points(self, run_id: str) -> Generator[pa.RecordBatch]:
        literal = "'" + run_id.replace("'", "''") + "'"
        with self.transaction() as connection, connection.cursor(adbc_stmt_kwargs=_BATCH_BYTES) as cursor:
            cursor.execute(_POINTS + literal)
            with cursor.fetch_record_batch() as reader:
                for batch in reader:
                    yield from slices(batch, MetricPoints.CHUNK_POINTS)

    def explain(self, error: Exception) -> EngineError | None:
        if not isinstance(error, dbapi.Error):
            return None
        message, state = str(error), error.sqlstate or ""
        where = {"side": Side.SOURCE, "subject": self.uri, "exc": error}
        # A refused connection has no state, only the server's words.
        if state.startswith("28") or any(words in message for words in _LOGIN_REFUSED):
            return AuthError(
                "PostgreSQL refused the login", remedy="check user and password in the URL", **where
            )
        if state == "42501":
            return AuthError(
                "the database user may not read MLflow's tables", remedy="GRANT SELECT on them", **where
            )
        if state == "3D000" or 'FATAL:  database "' in message:
            return ConfigError("there is no such database", remedy="check the end of the URL", **where)
        if state[:2] in {"08", "40", "53", "57"} or not state:
            return Transient(
                f"PostgreSQL cannot be reached or gave up: {message}", remedy="check host and port", **where
            )
        return CommError(f"PostgreSQL refused a query: {message}", **where)
