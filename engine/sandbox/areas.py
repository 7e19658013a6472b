"""All areas of the sandbox. Importing one registers its tables and resolvers."""

from __future__ import annotations

from engine.sandbox import (
    artifact_deletion,
    artifact_downloads,
    artifact_files,
    artifact_lists,
    artifact_tags,
    artifacts,
    collections,
    commits,
    filestream,
    lineage,
    manifests,
    memberships,
    projects,
    registry,
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
    "artifact_deletion",
    "artifact_files",
    "artifact_lists",
    "artifact_tags",
    "artifacts",
    "collections",
    "commits",
    "lineage",
    "manifests",
    "memberships",
    "projects",
    "registry",
    "rewind",
    "run_deletion",
    "run_fields",
    "run_files",
    "run_lists",
    "server_info",
    "upserts",
    "users",
]

ROUTES = [*filestream.ROUTES, *artifact_downloads.ROUTES]
"""The routes of the areas that have some beside GraphQL."""
