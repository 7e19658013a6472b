"""Which kind of store a tracking URI names, and what MLflow takes where none is given."""

from __future__ import annotations

import os
from pathlib import Path

from engine.errors import ConfigError, Side
from engine.mlflow.artifacts import local_path
from engine.mlflow.files import FileStore
from engine.mlflow.sql import SCHEMES, open_sql_store
from engine.mlflow.store import Store
from engine.protocols import SystemOptions

TRACKING_URI = "MLFLOW_TRACKING_URI"
DEFAULT_DATABASE = "mlflow.db"
DEFAULT_DIRECTORY = "mlruns"


def open_store(uri: str, options: SystemOptions) -> Store:
    """The store behind a tracking URI as MLflow writes them; not yet connected.

    Raises:
        ConfigError: the URI is malformed, or names a kind of store that cannot be read.
    """
    uri = uri or default_uri()
    scheme = uri.partition("://")[0].partition(":")[0].lower()
    if scheme in {"http", "https", "databricks"}:
        # The HTTP client is not needed for the others.
        from engine.mlflow.rest import open_rest_store

        return open_rest_store(uri, options)
    if scheme.partition("+")[0] in SCHEMES:
        return open_sql_store(uri, options)
    if (path := local_path(uri)) is not None:
        return FileStore(path, options)
    raise ConfigError(
        f"{scheme}: is no kind of MLflow store that can be read",
        side=Side.SOURCE,
        remedy="give http(s)://, sqlite:///, postgresql://, mysql://, databricks or a directory; "
        "for any other database, start `mlflow server` on it and give its address",
    )


def default_uri() -> str:
    """What MLflow 3 uses where no URI is given.

    The environment's, else ``./mlruns`` if there is a file store, else ``./mlflow.db``; as in
    ``mlflow.tracking._tracking_service.utils``.
    """
    if uri := os.environ.get(TRACKING_URI):
        return uri
    directory = Path(DEFAULT_DIRECTORY)
    if directory.is_dir() and any(
        child.name.isdigit() and (child / "meta.yaml").is_file() for child in directory.iterdir()
    ):
        return str(directory)
    return f"sqlite:///{DEFAULT_DATABASE}"
