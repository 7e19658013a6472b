"""Conditional and partial requests: the ``Range`` and ``If-…`` headers of RFC 9110."""

from __future__ import annotations

import re

from engine.sandbox.storage.s3_errors import S3Error

_SINGLE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def parse_range(header: str | None, size: int) -> range | None:
    """The bytes that a ``Range`` header asks for; None means the whole object.

    Like S3, several ranges at once and malformed headers are answered with the whole object.

    Raises:
        S3Error: ``InvalidRange``: the range lies outside of the object.
    """
    match = _SINGLE_RANGE.fullmatch(header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        span = range(max(0, size - int(last)), size)
    elif last and int(last) < int(first):
        return None
    else:
        span = range(int(first), min(size, int(last) + 1) if last else size)
    if not span:
        raise S3Error(
            "InvalidRange",
            "The requested range is not satisfiable",
            RangeRequested=header or "",
            ActualObjectSize=size,
        )
    return span


def matches(header: str, etag: str) -> bool:
    """Whether a list of entity tags (or ``*``) names this one."""
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]
    return "*" in tags or etag in tags
