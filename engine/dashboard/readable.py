"""Numbers, sizes, times and names as people read them."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime

NAME = 120
"""Characters of a name that are shown."""

_PASSWORD = re.compile(r"(://[^/\s:@\"']*):[^/\s@\"'\\]+@")
_SECRET_OPTION = re.compile(
    r"(?i)\b((?:ssl)?password|passwd|pwd|token|api[_-]?key|secret|signature|credential)=[^&\s'\"\\]+"
)


def without_secrets(text: str) -> str:
    """The text with ``***`` for passwords in URLs and for options that are called like secrets."""
    return _SECRET_OPTION.sub(r"\1=***", _PASSWORD.sub(r"\1:***@", text))


def shown(text: str, limit: int = NAME) -> str:
    """One line of at most ``limit`` characters, without what would change how the text around it reads.

    Control characters, and those that turn the direction of writing, become spaces or vanish.
    """
    # What is cut away need not be looked at: names can have megabytes.
    clean = "".join(map(_visible, without_secrets(text[: 4 * limit + 64])))
    clean = " ".join(clean.split())
    if len(clean) > limit:
        return clean[: limit - 1].rstrip() + "…"
    return clean + ("…" if len(text) > 4 * limit + 64 else "")


def _visible(character: str) -> str:
    match unicodedata.category(character):
        case "Cc" | "Zl" | "Zp":
            return " "
        case "Cs" | "Co" | "Cn":
            return "�"
        case "Cf" if character != "\u200d":  # which joins emoji
            return ""
        case _:
            return character


def number(value: float) -> str:
    """``12,345``"""
    return f"{value:,.0f}"


def figure(value: float) -> str:
    """Exact as long as it is short."""
    return number(value) if value < 100_000 else scaled(value)


def scaled(value: float) -> str:
    """In a few characters: ``950``, ``12.3k``, ``4.56M``."""
    if 0 < abs(value) < 10:
        return f"{value:.2g}"
    return _scaled(value, "").rstrip()


def size(value: float) -> str:
    """``1.5 GB``"""
    return f"{value:,.0f} B" if abs(value) < 1000 else _scaled(value, " ") + "B"


def _scaled(value: float, space: str) -> str:
    for unit in ("", "k", "M", "G", "T"):
        if abs(value) < 999.5:
            return f"{value:.3g}{space}{unit}"
        value /= 1000
    return f"{value:.3g}{space}P"


def duration(seconds: float) -> str:
    """``40 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``"""
    if 0 < seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, inner, length, part in (
        ("d", "h", 86_400, 3_600),
        ("h", "min", 3_600, 60),
        ("min", "s", 60, 1),
    ):
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length} {unit}" + (f" {rest} {inner}" if rest else "")
    return f"{whole} s"


def moment(seconds: float) -> str:
    """``2026-11-23 05:23 UTC`` from Unix seconds."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def share(part: float, whole: float) -> str:
    """``1.2 %``"""
    percent = 100 * part / whole if whole else 0.0
    return f"{percent:.2g} %" if 0 < percent < 1 else f"{percent:.1f} %".replace(".0 %", " %")


def counted(count: int, one: str, many: str | None = None) -> str:
    """``1 run``, ``2,000 runs``"""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"
