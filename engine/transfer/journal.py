"""What the pipeline asks the ledger and what it tells it, in terms of runs and their parts.

A run is proven if the source lists it exactly as it did when it was done. Then nothing is asked of the
destination: what was acknowledged is trusted to be there. A run that goes on at the source is never proven.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from engine.errors import EngineError
from engine.records import Artifact, Json, Namespace, Project, Receipt, Run
from engine.transfer.ledger import Ledger
from engine.transfer.ledger_schema import MEMOS, Kind, State
from engine.transfer.ledger_store import Cause, Item
from engine.transfer.trail import artifact_line, run_line

ARTIFACTS: Final = "artifacts"
"""All artifacts of a run, where its parts are named; each of them is an item of its own."""


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


class Journal:
    """Tells a ledger of one transfer.

    Args:
        wanted: the parts of a run that this transfer moves.
        incremental: False to know nothing of what earlier transfers did.
        recheck: whether the artifacts of proven runs are to be looked at too.
    """

    def __init__(
        self, ledger: Ledger, wanted: frozenset[str], *, incremental: bool = True, recheck: bool = False
    ) -> None:
        self._ledger = ledger
        self._wanted = wanted
        self._incremental = incremental
        self._recheck = recheck

    async def known(self, run: Run, destination: Namespace) -> Known:
        """What need not be done again."""
        if not self._incremental or _fingerprint(run) is None:
            return Known()
        where = run.namespace.path, run.id
        found = await self._ledger.run(*where)
        if found is None or not _proves(found, run, destination):
            return Known()
        complete = found.state is State.DONE and self._wanted <= found.parts
        if complete and not self._recheck:
            return Known(complete=True)
        done = [
            item
            for item in await self._ledger.items(*where)
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

    # -- runs ------------------------------------------------------------------------------------

    async def run_opened(self, run: Run, destination: Namespace, known: Known) -> None:
        """From now on until it is done, the run is not proven."""
        await self._ledger.note(
            _item(Kind.RUN, run, destination, state=State.PENDING, parts=known.parts, attempts=1)
        )

    async def run_done(self, run: Run, destination: Namespace, known: Known) -> None:
        """Return when this is on disk."""
        item = _item(
            Kind.RUN,
            run,
            destination,
            state=_done(run),
            parts=self._wanted | known.parts,
        )
        await self._ledger.settle(item, run_line(run, destination))

    async def run_failed(
        self,
        run: Run,
        destination: Namespace,
        known: Known,
        problems: Sequence[str],
        error: EngineError | None = None,
    ) -> None:
        """A run did not arrive whole.

        Args:
            error: why, unless it is that a part failed, which is told by itself.
        """
        item = _item(
            Kind.RUN,
            run,
            destination,
            state=State.FAILED,
            parts=known.parts,
            error=error,
        )
        await self._ledger.settle(item, run_line(run, destination, problems))

    async def unreadable(self, project: Project, run_id: str, error: EngineError) -> None:
        """The source lists a run that it cannot read."""
        await self._ledger.settle(
            Item(
                kind=Kind.RUN,
                project=project.namespace.path,
                run=run_id,
                state=State.FAILED,
                attempts=1,
                cause=Cause.of(error),
            ),
            run_line(Run(id=run_id, namespace=project.namespace), Namespace("", ""), [str(error)]),
        )

    async def project_listed(self, project: Project, error: EngineError | None = None) -> None:
        """All runs of a project were listed, or could not be."""
        state = State.DONE if error is None else State.FAILED
        cause = Cause.of(error) if error else None
        path = project.namespace.path
        await self._ledger.note(Item(kind=Kind.PROJECT, project=path, state=state, attempts=1, cause=cause))

    # -- parts -----------------------------------------------------------------------------------

    async def part_done(self, kind: Kind, run: Run, destination: Namespace, receipt: Receipt) -> None:
        """The history or the files of a run were acknowledged."""
        await self._ledger.note(_item(kind, run, destination, state=_done(run), receipt=receipt, attempts=1))

    async def part_failed(self, kind: Kind, run: Run, destination: Namespace, error: EngineError) -> None:
        await self._ledger.settle(_item(kind, run, destination, state=State.FAILED, error=error, attempts=1))

    async def artifact_done(
        self, artifact: Artifact, run: Run, destination: Namespace, receipt: Receipt, content: str | None
    ) -> None:
        """An artifact was acknowledged.

        Args:
            content: its fingerprint; None if not all of its entries were asked for.
        """
        item = _item(
            Kind.ARTIFACT,
            run,
            destination,
            state=_done(run),
            name=artifact_key(artifact),
            content=content,
            receipt=receipt,
            attempts=1,
        )
        await self._ledger.note(item, artifact_line(artifact, destination))

    async def artifact_failed(
        self, artifact: Artifact, run: Run, destination: Namespace, error: EngineError
    ) -> None:
        item = _item(
            Kind.ARTIFACT,
            run,
            destination,
            state=State.FAILED,
            name=artifact_key(artifact),
            error=error,
            attempts=1,
        )
        await self._ledger.settle(item, artifact_line(artifact, destination, [str(error)]))


def artifact_key(artifact: Artifact) -> str:
    """What tells the artifacts of a run apart."""
    version = "" if artifact.version is None else f":v{artifact.version}"
    return f"{artifact.type}/{artifact.name}{version}"


def _fingerprint(run: Run) -> str | None:
    return run.fingerprint if run.state.is_final else None


def _done(run: Run) -> State:
    """What goes on at the source is never done."""
    return State.DONE if run.state.is_final else State.PENDING


def _proves(item: Item, run: Run, destination: Namespace) -> bool:
    return item.fingerprint == _fingerprint(run) and item.destination == destination.path


def _item(
    kind: Kind,
    run: Run,
    destination: Namespace,
    *,
    state: State,
    name: str = "",
    content: str | None = None,
    parts: frozenset[str] = frozenset(),
    receipt: Receipt | None = None,
    error: EngineError | None = None,
    attempts: int = 0,
) -> Item:
    receipt = receipt or Receipt()
    return Item(
        kind=kind,
        project=run.namespace.path,
        run=run.id,
        name=name,
        state=state,
        destination=destination.path,
        fingerprint=_fingerprint(run),
        content=content,
        parts=parts,
        note=None if receipt.note is None else json.dumps(receipt.note),
        attempts=attempts,
        cause=Cause.of(error) if error else None,
        points=receipt.points,
        files=receipt.files,
        bytes=receipt.bytes,
    )
