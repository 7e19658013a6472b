"""All areas of the sandbox. Importing one registers its tables and resolvers."""

from __future__ import annotations

from engine.sandbox import server_info, views
from engine.sandbox.accounts import users
from engine.sandbox.artifacts import (
    collections,
    commits,
    downloads,
    lineage,
    links,
    manifests,
    memberships,
    registry,
    tags,
    versions,
)
from engine.sandbox.artifacts import deletion as artifact_deletion
from engine.sandbox.artifacts import files as artifact_files
from engine.sandbox.artifacts import lists as artifact_lists
from engine.sandbox.projects import deletion as project_deletion
from engine.sandbox.projects import facts, projects
from engine.sandbox.runs import deletion as run_deletion
from engine.sandbox.runs import fields, filestream, history_exports, rewind, upserts
from engine.sandbox.runs import files as run_files
from engine.sandbox.runs import lists as run_lists
from engine.sandbox.sweeps import agents, sweeps

__all__ = [
    "ROUTES",
    "agents",
    "artifact_deletion",
    "artifact_files",
    "artifact_lists",
    "collections",
    "commits",
    "facts",
    "fields",
    "lineage",
    "links",
    "manifests",
    "memberships",
    "project_deletion",
    "projects",
    "registry",
    "rewind",
    "run_deletion",
    "run_files",
    "run_lists",
    "server_info",
    "sweeps",
    "tags",
    "upserts",
    "users",
    "versions",
    "views",
]

ROUTES = [*filestream.ROUTES, *downloads.ROUTES, *history_exports.ROUTES]
"""The routes of the areas that have some beside GraphQL."""
