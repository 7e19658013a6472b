"""All areas of the sandbox. Importing one registers its tables and resolvers."""

from __future__ import annotations

from engine.sandbox import (
    filestream,
    projects,
    rewind,
    run_deletion,
    run_fields,
    run_files,
    run_lists,
    server_info,
    upserts,
    users,
)

__all__ = [
    "ROUTES",
    "projects",
    "rewind",
    "run_deletion",
    "run_fields",
    "run_files",
    "run_lists",
    "server_info",
    "upserts",
    "users",
]

ROUTES = [*filestream.ROUTES]
"""The routes of the areas that have some beside GraphQL."""
