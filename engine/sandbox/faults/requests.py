"""What a rule can ask about a request: its class, method, path, and the words of its GraphQL document."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

import orjson
from aiohttp import web

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

CLASSES = ("graphql", "filestream", "objects", "pages")
"""Classes of endpoints: ``pages`` is whatever the others are not."""

OBJECTS = "/storage/"
_WORD = re.compile(r"[_A-Za-z]\w*")


def class_of(path: str) -> str:
    """The class of endpoint that a path belongs to."""
    if path.startswith(OBJECTS):
        return "objects"
    if path == "/graphql":
        return "graphql"
    return "filestream" if path.startswith("/files/") and path.endswith("/file_stream") else "pages"


@dataclass(frozen=True, slots=True)
class Where:
    """Which requests a rule is about; an empty field means any.

    Attributes:
        classes: of ``CLASSES``.
        methods: of HTTP, in capitals.
        path: shell pattern for the decoded path.
        operation: shell pattern for a word of the GraphQL document: the operation's name, a field, a type.
    """

    classes: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    path: str = ""
    operation: str = ""

    def is_at(self, method: str, path: str) -> bool:
        """Whether it is about this place, as far as that can be told without reading the request."""
        return (
            (not self.classes or class_of(path) in self.classes)
            and (not self.methods or method in self.methods)
            and (not self.path or fnmatchcase(path, self.path))
        )

    async def fits(self, request: web.Request) -> bool:
        """Whether it is about this request; reads the request only if an operation is asked for."""
        if not self.is_at(request.method, request.path):
            return False
        if not self.operation:
            return True
        words = _WORD.findall(_document(await request.read()))
        return any(fnmatchcase(word, self.operation) for word in words)


def _document(body: bytes) -> str:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    return str(request.get("query", "")) if isinstance(request, dict) else ""
