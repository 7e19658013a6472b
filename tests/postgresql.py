"""A real PostgreSQL server for tests, from a wheel, on a socket in a directory of its own."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running_postgresql(directory: Path) -> Generator[str]:
    """Its URI as libpq reads it, of the database ``postgres``; the server ends with the block."""
    with warnings.catch_warnings():
        # Where there is no login session, pgserver's import warns of a runtime directory that is not used.
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        import pgserver
    server = pgserver.get_server(directory)
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
