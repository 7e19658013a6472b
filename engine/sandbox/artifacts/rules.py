"""What W&B accepts as names, aliases, tags and metadata of artifacts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from engine.sandbox.refusals import bad_request

MAX_NAME = 128
MAX_METADATA_KEYS = 100
MAX_TAGS_PER_CALL = 20

_NEW_NAME = re.compile(r"[a-zA-Z0-9_\-.]+")
_TAG = re.compile(r"[-\w]+( +[-\w]+)*")
_VERSION = re.compile(r"v(\d+)")


def check_new_name(name: str) -> None:
    """The name of a collection that artifacts are logged to."""
    if not _NEW_NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise bad_request(
            f"invalid artifact name {name!r}: it may hold letters, digits, dashes, underscores and dots, "
            f"and at most {MAX_NAME} of them"
        )


def check_collection_name(name: str) -> None:
    """The name that a collection is linked under or renamed to."""
    if not name or len(name) > MAX_NAME or "/" in name or ":" in name:
        raise bad_request(
            f"invalid collection name {name!r}: 1 to {MAX_NAME} characters, none of them '/' or ':'"
        )


def check_type(name: str) -> None:
    """The name of an artifact type."""
    if not name or len(name) > MAX_NAME or "/" in name or ":" in name:
        raise bad_request(
            f"invalid artifact type {name!r}: 1 to {MAX_NAME} characters, none of them '/' or ':'"
        )


def check_alias(alias: str) -> None:
    """An alias that somebody gives; ``v3`` and its like are computed and cannot be given."""
    if not alias or len(alias) > MAX_NAME or "/" in alias or ":" in alias:
        raise bad_request(f"invalid alias {alias!r}: 1 to {MAX_NAME} characters, none of them '/' or ':'")
    if _VERSION.fullmatch(alias):
        raise bad_request(f"invalid alias {alias!r}: it is the form of a version number")


def check_tag(tag: Mapping[str, Any]) -> None:
    """A tag and its category."""
    for name in (tag["tagName"], tag.get("tagCategoryName") or "tag"):
        if not _TAG.fullmatch(name) or len(name) > MAX_NAME:
            raise bad_request(
                f"invalid tag {name!r}: words of letters, digits, dashes and underscores, "
                f"at most {MAX_NAME} characters"
            )


def check_metadata(text: str | None) -> None:
    """Metadata: an object of at most 100 keys in strict JSON."""
    if text is None:
        return

    def refuse(token: str) -> None:
        raise bad_request(f"artifact metadata must be strict JSON, without {token}")

    metadata = json.loads(text, parse_constant=refuse)
    if metadata is not None and not isinstance(metadata, dict):
        raise bad_request("artifact metadata must be a JSON object")
    if metadata and len(metadata) > MAX_METADATA_KEYS:
        raise bad_request(f"artifact metadata may have at most {MAX_METADATA_KEYS} keys, not {len(metadata)}")


def check_path(path: str) -> None:
    """The path of an entry: relative, with plain slashes."""
    segments = path.split("/")
    if not path or "\x00" in path or any(segment in ("", ".", "..") for segment in segments):
        raise bad_request(f"invalid path of an artifact entry: {path!r}")


def version_number(alias: str) -> int | None:
    """``v3`` → 3; None if it is no version."""
    match = _VERSION.fullmatch(alias)
    return int(match[1]) if match else None
