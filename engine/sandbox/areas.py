"""All areas of the sandbox. Importing one registers its tables and resolvers."""

from __future__ import annotations

from engine.sandbox import (
    agents,
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
    project_facts,
    projects,
    registry,
    rewind,
    run_deletion,
    run_fields,
    run_files,
    run_lists,
    server_info,
    sweeps,
    upserts,
    users,
    views,
)

__all__ = [
    "ROUTES",
    "agents",
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
    "project_facts",
    "projects",
    "registry",
    "rewind",
    "run_deletion",
    "run_fields",
    "run_files",
    "run_lists",
    "server_info",
    "sweeps",
    "upserts",
    "users",
    "views",
]

ROUTES = [*filestream.ROUTES, *artifact_downloads.ROUTES]
"""The routes of the areas that have some beside GraphQL."""
