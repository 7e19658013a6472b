"""MLflow stores kept in a database, read with plain SQL over read-only connections.

MLflow's own client is never used: opening a store through it migrates the schema in place.
"""

from __future__ import annotations

from engine.errors import ConfigError, Side
from engine.mlflow.sql.store import SqlStore
from engine.mlflow.store import Store
from engine.protocols import SystemOptions

SCHEMES = ("sqlite", "postgresql", "postgres", "mysql")


def open_sql_store(uri: str, options: SystemOptions) -> Store:
    """The store behind an SQLAlchemy URL, as MLflow takes them; not yet connected.

    Raises:
        ConfigError: the URL is malformed.
    """
    # Each brings its own driver, and sqlalchemy parses the URL: loaded when asked for.
    dialect = uri.partition(":")[0].partition("+")[0]
    if dialect == "sqlite":
        from engine.mlflow.sql.sqlite import SqliteDatabase

        return SqlStore(SqliteDatabase(uri), options)
    if dialect in {"postgresql", "postgres"}:
        from engine.mlflow.sql.postgres import PostgresDatabase

        return SqlStore(PostgresDatabase(uri), options)
    if dialect == "mysql":
        from engine.mlflow.sql.mysql import MysqlDatabase

        return SqlStore(MysqlDatabase(uri), options)
    raise ConfigError(
        f"databases of kind {dialect!r} cannot be read directly",
        side=Side.SOURCE,
        remedy="start `mlflow server` on that database and give its http:// address",
    )
