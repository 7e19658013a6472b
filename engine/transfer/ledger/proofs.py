"""What earlier transfers proved, by what a ledger says.

A run is proven if the source lists it exactly as it did when it was done. Then nothing is asked of the
destination: what was acknowledged is trusted to be there. A run that goes on at the source is never proven.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from engine.records import Json, Namespace, Run
from engine.reports import Sweep, View
from engine.transfer.ledger.items import MEMOS, Item, Kind, State


class Records(Protocol):
    """A ledger to look into."""

    async def run(self, project: str, run: str) -> Item | None:
        """What it holds of a run, without its parts."""
        ...

    async def items(self, project: str, run: str) -> list[Item]:
        """What it holds of a run and its parts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What earlier transfers proved of a run as it is now.

    Attributes:
        complete: everything that was asked for now has arrived.
        parts: what has arrived as a whole: ``history``, ``files``, ``artifacts``.
        notes: of the history and the files, if they need not be written again.
        artifacts: fingerprints of the content of those that arrived, by ``artifact_key``.
    """

    complete: bool = False
    parts: frozenset[str] = frozenset()
    notes: Mapping[str, Json] = field(default_factory=dict)
    artifacts: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCollection:
    """What earlier transfers proved of a collection of artifact versions.

    Attributes:
        fingerprint: of the collection when all of it had arrived, None if that never was.
        versions: digests at the source of the versions that arrived, by ``artifact_key``.
    """

    fingerprint: str | None = None
    versions: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownReport:
    """What earlier transfers proved of a sweep or a view.

    Attributes:
        content: fingerprint of what arrived.
        note: of the receipt.
    """

    content: str | None = None
    note: Json | None = None


class Proofs:
    """Tells what a transfer need not do again.

    Args:
        wanted: the parts of a run that this transfer moves.
        incremental: False to know nothing of what earlier transfers did.
        recheck: whether the artifacts of proven runs are to be looked at too.
    """

    def __init__(
        self, records: Records, wanted: frozenset[str], *, incremental: bool = True, recheck: bool = False
    ) -> None:
        self._records = records
        self._wanted = wanted
        self._incremental = incremental
        self._recheck = recheck

    async def known(self, run: Run, destination: Namespace | None) -> Known:
        """What need not be done again.

        Args:
            destination: where the run goes; None where only the transfer will tell, so that any place counts.
        """
        if not self._incremental or proof_of(run) is None:
            return Known()
        where = run.namespace.path, run.id
        found = await self._records.run(*where)
        if found is None or not _proves(found, run, destination):
            return Known()
        complete = found.state is State.DONE and self._wanted <= found.parts
        if complete and not self._recheck:
            return Known(complete=True)
        done = [
            item
            for item in await self._records.items(*where)
            if item.state is State.DONE and _proves(item, run, destination)
        ]
        return Known(
            complete=complete,
            parts=found.parts,
            notes={
                item.kind: json.loads(item.note)
                for item in done
                if item.note is not None and item.kind not in MEMOS
            },
            artifacts={item.name: item.content for item in done if item.kind is Kind.ARTIFACT},
        )

    async def whole(
        self, project: Namespace, destination: Namespace | None
    ) -> Mapping[tuple[Kind, str], str | None]:
        """The content of what arrived of a project and belongs to no run, by kind and name.

        Args:
            destination: as for ``known``.
        """
        if not self._incremental:
            return {}
        return {
            (item.kind, item.name): item.content
            for item in await self._records.items(project.path, "")
            if item.state is State.DONE and (destination is None or item.destination == destination.path)
        }


def report_key(made: Sweep | View) -> tuple[Kind, str]:
    """What tells the sweeps and views of a project apart: titles change, ids do not."""
    return (Kind.SWEEP, made.id) if isinstance(made, Sweep) else (Kind.REPORT, f"{made.kind}/{made.id}")


def proof_of(run: Run) -> str | None:
    """What the ledger must say of a run so that it counts; None if nothing would do."""
    return run.fingerprint if run.state.is_final else None


def _proves(item: Item, run: Run, destination: Namespace | None) -> bool:
    there = destination is None or item.destination == destination.path
    return there and item.fingerprint == proof_of(run)
