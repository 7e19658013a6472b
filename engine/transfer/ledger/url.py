"""Where a ledger is: a file of SQLite, or a PostgreSQL database."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from engine.errors import ConfigError

FORM = "postgresql://USER@HOST/DATABASE"

_SECRETS = ("password", "passfile", "sslpassword", "sslkey")
"""Parameters of libpq that may not be shown; a password before the ``@`` is hidden anyway."""

_PATIENT = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "40000",
}
"""So that a network that swallows everything is noticed within a minute (libpq, 34.1.2)."""


def parse(url: str) -> sa.URL:
    """What SQLAlchemy needs to connect.

    Raises:
        ConfigError: it is no URL, or of a database that cannot hold a ledger.
    """
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        # Neither the text nor the error is shown: there may be a password in it.
        raise ConfigError("the address of the ledger is no URL", remedy=f"write {FORM}") from None
    backend = parsed.drivername.partition("+")[0]
    if backend == "sqlite":
        return parsed
    if backend not in ("postgresql", "postgres"):
        raise ConfigError(f"a ledger cannot be kept in {backend}", remedy=f"write {FORM}")
    if "+" not in parsed.drivername:
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.update_query_dict({**_PATIENT, **parsed.query})


def shown(url: sa.URL) -> str:
    """The URL without what is secret, and without what nobody wrote."""
    plain = url.difference_update_query([*_SECRETS, *_PATIENT])
    return plain.set(drivername=plain.get_backend_name()).render_as_string(hide_password=True)
