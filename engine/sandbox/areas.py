"""All areas of the sandbox. Importing one registers its tables and resolvers."""

from __future__ import annotations

from aiohttp import web

from engine.sandbox import projects, server_info, users

__all__ = ["ROUTES", "projects", "server_info", "users"]

ROUTES: list[web.RouteDef] = []
"""The routes of the areas that have some beside GraphQL."""
