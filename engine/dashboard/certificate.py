"""What a certificate of verification in the state directory says, as far as it can be understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

CERTIFICATE = "certificate.json"

DIFFERENCES = 20
"""That are told one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The result of comparing both sides.

    Attributes:
        level: how closely was looked: ``counts``, ``full`` or ``deep``.
        at: when, as it is written there.
        root: the Merkle root over all runs.
        counts: what was compared, by kind.
        difference_count: all of them.
        differences: the first, one sentence each.
        unverified: what could not be compared.
    """

    level: str | None = None
    at: str | None = None
    root: str | None = None
    source: str | None = None
    destination: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    difference_count: int = 0
    differences: tuple[str, ...] = ()
    unverified: int = 0

    def is_of(self, source: str, destination: str) -> bool:
        """Whether it is about this migration, or does not tell."""
        return self.source in (None, source) and self.destination in (None, destination)


def read_certificate(state_dir: Path) -> Certificate | None:
    """None if there is none, or it is not to be understood."""
    try:
        told = orjson.loads((state_dir / CERTIFICATE).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return _certificate(told) if isinstance(told, dict) else None


def _certificate(told: Mapping[str, Any]) -> Certificate:
    differences = told.get("differences")
    listed = differences if isinstance(differences, list) else []
    number = told.get("difference_count", differences if isinstance(differences, int) else len(listed))
    unverified = told.get("not_verified_count")
    return Certificate(
        level=_text(told.get("level")),
        at=_text(told.get("ended_at") or told.get("at")),
        root=_text(told.get("root") or told.get("merkle_root")),
        source=_side(told.get("source")),
        destination=_side(told.get("destination")),
        counts={str(k): v for k, v in _mapping(told.get("counts")).items() if isinstance(v, int) and v},
        difference_count=number if isinstance(number, int) else len(listed),
        differences=tuple(map(_difference, listed[:DIFFERENCES])),
        unverified=unverified if isinstance(unverified, int) else 0,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _side(value: object) -> str | None:
    """A side is its URI, or an object that has one."""
    return _text(value["uri"] if isinstance(value, dict) and "uri" in value else value)


def _difference(told: object) -> str:
    if not isinstance(told, dict):
        return str(told)
    return ": ".join(str(told[name]) for name in ("subject", "detail") if told.get(name))
