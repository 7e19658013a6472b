"""Names on disk that any file system takes, whatever the thing is called."""

from __future__ import annotations

import hashlib
import re

SHOWN = 40
"""Characters of the real name that are kept for people."""

DIGEST = 20
"""Hex digits that tell apart what looks the same; who finds two names of one digest is told, not served."""

_STRANGE = re.compile(r"[^a-z0-9_]+")


def portable(name: str) -> str:
    """A file name for anything: lower case, without dots, short, and another one for each name.

    Dots and capitals go, so that neither ``..``, nor ``CON.txt``, nor names that differ by case alone, nor a
    trailing dot can do harm; the digest at its end keeps names apart that look the same.
    """
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST]
    shown = _STRANGE.sub("-", name.lower())[:SHOWN].strip("-_")
    return f"{shown}-{digest}" if shown else digest
