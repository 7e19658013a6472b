"""When two messages tell of the same cause: if they differ only in names and numbers."""

from __future__ import annotations

import re

_PARTICULAR = re.compile(
    r"""
      [a-z][a-z0-9+.-]*://\S+                     # URLs
    | "[^"]*" | '[^']*' | `[^`]*`                 # whatever is quoted
    | (?<![\w/]) (?:/[^\s/:;,)]+){2,}             # paths
    | \b [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12} \b
    | \b (?=[0-9a-z_-]*[0-9]) (?=[0-9a-z_-]*[a-z]) [0-9a-z_-]{6,} \b   # ids: letters and digits
    | \b (?:HTTP|status|errno) \s \d+ \b          # which are no particulars
    | \b \d [\d.,:TZ+-]* \b
    """,
    re.VERBOSE | re.IGNORECASE,
)
_STATUS = re.compile(r"(?:HTTP|status|errno)\s", re.IGNORECASE)

LONGEST = 2_000
"""Characters that are looked at; a message of megabytes is told apart by its beginning."""


def normalised(message: str) -> str:
    """A message without what belongs to the single item: ids, numbers, paths, URLs, quoted names.

    Status codes stay, since 404 and 500 are different causes.
    """
    return _PARTICULAR.sub(
        lambda found: found[0] if _STATUS.match(found[0]) else "…", " ".join(message[:LONGEST].split())
    )
