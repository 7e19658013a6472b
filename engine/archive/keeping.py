"""Records of an archive: what is said of one thing, how often that changed, and what belongs to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from engine.archive.codec import record_of
from engine.archive.layout import Layout, dumps
from engine.errors import Conflict, IntegrityError
from engine.fingerprints import fingerprint
from engine.records import Collection, Json, Namespace

DAMAGE: Final = (ValueError, KeyError, TypeError, AttributeError)
"""What goes wrong where a record is read that is none."""


def read_record(layout: Layout, path: Path, kind: str, names: Mapping[str, str]) -> dict[str, Any]:
    """A record as it is, empty if there is none.

    Args:
        kind: under which key the thing is in its record.
        names: what tells the thing from others of its kind.

    Raises:
        Conflict: the place is that of another one.
        IntegrityError: it is damaged.
    """
    if not path.is_file():
        return {}
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        found = {name: record[kind][name] for name in names}
    except DAMAGE as error:
        raise IntegrityError(
            f"the record of the {kind} is damaged",
            side=layout.side,
            subject=str(path),
            remedy="move it away, and export the archive again with --no-incremental",
            exc=error,
        ) from error
    if found != names:
        raise Conflict(
            f"the place of {kind} {_shown(names)} in the archive is taken by {_shown(found)}",
            side=layout.side,
            subject=str(path),
        )
    return record


def _shown(names: Mapping[str, str]) -> str:
    return " ".join(repr(name) for name in names.values())


def write_record(
    layout: Layout, path: Path, before: Mapping[str, Json], told: Mapping[str, Json], **besides: Json
) -> bool:
    """Write a record if it says anything else than before; return whether it does.

    Args:
        before: as ``read_record`` found it.
        besides: what goes with it, but is no reason to write it.
    """
    # In an archive that was read back NaN is another NaN.
    if before and all(fingerprint(before.get(name)) == fingerprint(value) for name, value in told.items()):
        return False
    record = {"generation": before.get("generation", 0) + 1, **told, **besides}
    layout.write(path, dumps(record).encode())
    return True


def all_damaged(layout: Layout, found: Mapping[Path, Exception]) -> IntegrityError:
    """What to raise for several records that are damaged."""
    path, error = min(found.items())
    others = f"; {len(found) - 1} others too" if len(found) > 1 else ""
    return layout.damaged(path, ValueError(f"{error}{others}"))


def listed_records(
    layout: Layout, namespace: Namespace, kind: str
) -> tuple[list[Collection], IntegrityError | None]:
    """What the records of collections or of portfolios are about, and why others cannot be read."""
    found: list[Collection] = []
    damaged: dict[Path, Exception] = {}
    for path in layout.things(namespace, kind).glob("*.json"):
        try:
            record = json.loads(path.read_bytes())
            found.append(replace(record_of(Collection, record[kind]), namespace=namespace))
        except DAMAGE as error:
            damaged[path] = error
    found.sort(key=lambda each: (each.name, each.type))
    return found, all_damaged(layout, damaged) if damaged else None
