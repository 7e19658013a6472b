"""Addresses of a server's pages and files, where people wrote them into texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

from engine.records import Json


def shown_url(base_url: str) -> str:
    """Where a server's pages are: the service answers programs under another name than people."""
    split = urlsplit(base_url)
    return urlunsplit(split._replace(netloc=split.netloc.removeprefix("api.")))


def pattern(base_url: str) -> re.Pattern[str]:
    """Matches the addresses of a server; ``rest`` is the path with what follows it."""
    hosts = {base_url, shown_url(base_url)}
    # What ends a sentence ends no address.
    within, last = r"[^\s\"'<>)\]]", r"[^\s\"'<>)\].,;:!?]"
    return re.compile(rf"(?:{'|'.join(map(re.escape, hosts))})(?P<rest>/(?:{within}*{last})?)", re.IGNORECASE)


def texts_in(value: Json) -> Iterator[str]:
    """All texts of a value, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)
