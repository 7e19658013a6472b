"""What the pipeline tells the ledger, in terms of runs and their parts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import anyio

from engine import fingerprints
from engine.errors import EngineError
from engine.records import Artifact, Collection, Json, Namespace, Project, Receipt, Run, RunRef, Version
from engine.reports import Sweep, View
from engine.transfer.ledger.items import Cause, Item, Kind, RunKey, State
from engine.transfer.ledger.leases import LOOK_S, Claim
from engine.transfer.ledger.ledger import Ledger
from engine.transfer.ledger.proofs import Known, KnownCollection, KnownReport, Proofs, proof_of, report_key
from engine.transfer.ledger.trail import artifact_line, run_line

ARTIFACTS: Final = "artifacts"
"""All artifacts of a run, where its parts are named; each of them is an item of its own."""


class Journal(Proofs):
    """Tells a ledger of one transfer, and asks it what earlier ones proved."""

    def __init__(
        self, ledger: Ledger, wanted: frozenset[str], *, incremental: bool = True, recheck: bool = False
    ) -> None:
        super().__init__(ledger, wanted, incremental=incremental, recheck=recheck)
        self._ledger = ledger

    # -- sharing ---------------------------------------------------------------------------------

    async def is_proven(self, run: Run, destination: Namespace) -> bool:
        """Whether nothing of a run need be looked at."""
        return not self._recheck and (await self.known(run, destination)).complete

    async def claim(self, runs: Sequence[Run]) -> list[Claim]:
        """Take runs for this engine alone, and tell which of them could be had."""
        claims = await self._ledger.claim([_key(run) for run in runs])
        return [claims[_key(run)] for run in runs]

    async def wait_for_others(self, what: str) -> None:
        """Wait a moment before the next look at what others have in hand, and let people see that.

        Args:
            what: that is waited for, as they call it.
        """
        others = [f"process {other.pid} on {other.host}" for other in await self._ledger.others()]
        with self._ledger.notice(f"others who share the work: {what} in hand at {', '.join(others)}"):
            await anyio.sleep(LOOK_S)

    # -- runs ------------------------------------------------------------------------------------

    async def run_opened(self, run: Run, destination: Namespace, known: Known) -> None:
        """From now on until it is done, the run is not proven."""
        await self._ledger.note(
            _item(Kind.RUN, run, destination, state=State.PENDING, parts=known.parts, attempts=1)
        )

    async def run_unchanged(self, run: Run) -> None:
        """Everything of a run had arrived before."""
        # What was looked at again need not be looked at by others, who could not know it from the ledger.
        await self._ledger.end_run(_key(run), proven=not self._recheck)

    async def run_done(self, run: Run, destination: Namespace, known: Known) -> None:
        """Return when this is on disk."""
        item = _item(
            Kind.RUN,
            run,
            destination,
            state=_done(run),
            parts=self._wanted | known.parts,
        )
        await self._ledger.end_run(
            _key(run),
            proven=self._incremental and proof_of(run) is not None and not self._recheck,
            item=item,
            line=run_line(run, destination),
        )

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
        line = run_line(run, destination, problems)
        await self._ledger.end_run(_key(run), proven=False, item=item, line=line)

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

    # -- what belongs to no run ------------------------------------------------------------------

    async def claim_whole(self, project: str, what: str) -> Claim:
        """Take all ``what`` of a project, of all projects if it is empty, for this engine alone."""
        key = project, f"{what}/"
        return (await self._ledger.claim([key]))[key]

    async def whole_done(self, project: str, what: str) -> None:
        """What was claimed so was brought as far as it could be."""
        await self._ledger.end_run((project, f"{what}/"), proven=False)

    async def whole_given_back(self, project: str, what: str) -> None:
        """Others may claim it now."""
        await self._ledger.end_run((project, f"{what}/"), proven=True)

    # -- sweeps and views ------------------------------------------------------------------------

    async def known_report(self, made: Sweep | View, destination: Namespace) -> KnownReport:
        """What earlier transfers proved of a sweep or a view."""
        if not self._incremental:
            return KnownReport()
        kind, name = report_key(made)
        for item in await self._ledger.notes(made.namespace.path, "", kind, name):
            # One that failed later is still where it was brought before.
            if item.name == name and item.note is not None and item.destination == destination.path:
                return KnownReport(content=item.content, note=json.loads(item.note))
        return KnownReport()

    async def report_done(self, made: Sweep | View, destination: Namespace, receipt: Receipt) -> None:
        """A sweep or a view was acknowledged, or found to be what it has to be."""
        await self._ledger.note(
            _report_item(
                made, destination, State.DONE, note=receipt.note, content=fingerprints.fingerprint(made)
            )
        )

    async def report_failed(
        self, made: Sweep | View, destination: Namespace, known: KnownReport, error: EngineError
    ) -> None:
        await self._ledger.settle(_report_item(made, destination, State.FAILED, note=known.note, error=error))

    # -- collections -----------------------------------------------------------------------------

    async def claim_collections(self, collections: Sequence[Collection]) -> list[Claim]:
        """Take collections for this engine alone, and tell which of them could be had."""
        keys = [(collection.namespace.path, _claimed(collection)) for collection in collections]
        claims = await self._ledger.claim(keys)
        return [claims[key] for key in keys]

    async def collection_put_off(self, collection: Collection) -> None:
        """Return when others may claim a collection, and know of it what this engine knows."""
        key = collection.namespace.path, _claimed(collection)
        await self._ledger.end_run(key, proven=True, settled=True)

    async def known_of(self, collection: Collection, destination: Namespace) -> KnownCollection:
        """What earlier transfers proved of a collection and of its versions."""
        if not self._incremental:
            return KnownCollection()
        path, name = collection.namespace.path, collection_key(collection)
        whole = await self._ledger.notes(path, "", Kind.COLLECTION, name)
        versions = await self._ledger.notes(path, "", Kind.ARTIFACT, f"{name}:v")
        done = [
            item
            for item in (*whole, *versions)
            if item.state is State.DONE and item.destination == destination.path
        ]
        return KnownCollection(
            fingerprint=next((item.content for item in done if item.name == name), None),
            versions={item.name: item.content for item in done if item.kind is Kind.ARTIFACT},
        )

    async def did_not_arrive(self, run: RunRef) -> bool:
        """Whether a run could not be brought at all, so that it may come another time."""
        found = await self._ledger.run(run.namespace.path, run.id)
        # One of which only parts are missing has no cause of its own.
        return found is not None and found.state is State.FAILED and found.cause is not None

    async def collection_left(self, collection: Collection) -> None:
        """Nothing is to be done with a collection that was claimed."""
        await self._ledger.end_run((collection.namespace.path, _claimed(collection)), proven=True)

    async def version_done(self, version: Version, destination: Namespace, receipt: Receipt) -> None:
        """A version was acknowledged under its number, or found there."""
        artifact = version.artifact
        item = _version_item(artifact, destination, State.DONE, receipt=receipt)
        await self._ledger.note(item, artifact_line(artifact, destination))

    async def version_failed(self, version: Version, destination: Namespace, error: EngineError) -> None:
        artifact = version.artifact
        item = _version_item(artifact, destination, State.FAILED, error=error)
        await self._ledger.settle(item, artifact_line(artifact, destination, [str(error)]))

    async def collection_forgotten(
        self, collection: Collection, destination: Namespace, known: KnownCollection
    ) -> None:
        """Return when it is on disk that nothing of a collection is at the destination any more.

        Args:
            known: what was.
        """
        item = Item(
            kind=Kind.COLLECTION,
            project=collection.namespace.path,
            name=collection_key(collection),
            state=State.PENDING,
            destination=destination.path,
        )
        for version in known.versions:
            await self._ledger.note(replace(item, kind=Kind.ARTIFACT, name=version))
        await self._ledger.settle(item)

    async def collection_ended(
        self,
        collection: Collection,
        destination: Namespace,
        *,
        fingerprint: str | None = None,
        error: EngineError | None = None,
        portfolios: Iterable[Collection] = (),
        interrupted: bool = False,
    ) -> None:
        """Return when it is on disk that a collection arrived, or did not.

        Args:
            fingerprint: of all that it says and holds; None if some of it did not arrive.
            portfolios: that its versions are linked into.
            interrupted: whether others may go on with it.
        """
        item = Item(
            kind=Kind.COLLECTION,
            project=collection.namespace.path,
            name=collection_key(collection),
            state=State.FAILED if fingerprint is None else State.DONE,
            destination=destination.path,
            content=fingerprint,
            note=json.dumps(sorted(map(_told, portfolios))),
            attempts=1,
            cause=Cause.of(error) if error else None,
        )
        key = collection.namespace.path, _claimed(collection)
        await self._ledger.end_run(key, proven=interrupted, item=item)

    async def portfolios_of(self, collection: Collection) -> list[Collection]:
        """What versions of a collection are linked into, by what whoever ended it told."""
        name = collection_key(collection)
        found = await self._ledger.notes(collection.namespace.path, "", Kind.COLLECTION, name)
        notes = [json.loads(item.note) for item in found if item.name == name and item.note is not None]
        return [_portfolio(*told) for note in notes for told in note]


def collection_key(collection: Collection) -> str:
    """What tells the collections of a project apart."""
    return f"{collection.type}/{collection.name}"


def _report_item(
    made: Sweep | View,
    destination: Namespace,
    state: State,
    *,
    note: Json | None,
    content: str | None = None,
    error: EngineError | None = None,
) -> Item:
    kind, name = report_key(made)
    return Item(
        kind=kind,
        project=made.namespace.path,
        name=name,
        state=state,
        destination=destination.path,
        content=content,
        note=None if note is None else json.dumps(note),
        attempts=1,
        cause=Cause.of(error) if error else None,
    )


def _told(portfolio: Collection) -> tuple[str, str, str, str]:
    home = portfolio.namespace
    return home.entity, home.project, portfolio.type, portfolio.name


def _portfolio(entity: str, project: str, kind: str, name: str) -> Collection:
    return Collection(namespace=Namespace(entity, project), type=kind, name=name)


def _claimed(collection: Collection) -> str:
    """Where runs are claimed by their ids, none of which has a slash."""
    return f"collection/{collection_key(collection)}"


def artifact_key(artifact: Artifact) -> str:
    """What tells the artifacts of a run apart."""
    version = "" if artifact.version is None else f":v{artifact.version}"
    return f"{artifact.type}/{artifact.name}{version}"


def _version_item(
    artifact: Artifact,
    destination: Namespace,
    state: State,
    *,
    receipt: Receipt | None = None,
    error: EngineError | None = None,
) -> Item:
    receipt = receipt or Receipt()
    return Item(
        kind=Kind.ARTIFACT,
        project=artifact.namespace.path,
        name=artifact_key(artifact),
        state=state,
        destination=destination.path,
        content=artifact.digest,
        attempts=1,
        cause=Cause.of(error) if error else None,
        files=receipt.files,
        bytes=receipt.bytes,
    )


def _key(run: Run) -> RunKey:
    return run.namespace.path, run.id


def _done(run: Run) -> State:
    """What goes on at the source is never done."""
    return State.DONE if run.state.is_final else State.PENDING


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
        fingerprint=proof_of(run),
        content=content,
        parts=parts,
        note=None if receipt.note is None else json.dumps(receipt.note),
        attempts=attempts,
        cause=Cause.of(error) if error else None,
        points=receipt.points,
        files=receipt.files,
        bytes=receipt.bytes,
    )
