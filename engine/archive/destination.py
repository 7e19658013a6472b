"""An archive to write to."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from anyio.to_thread import run_sync

from engine.archive.addresses import Addresses
from engine.archive.audit import ArchiveAudit
from engine.archive.blobs import Blobs
from engine.archive.codec import plain
from engine.archive.collection_writer import ArchiveCollectionWriter
from engine.archive.contents import Contents
from engine.archive.keeping import read_record
from engine.archive.layout import COLLECTION, FORMAT, VERSION, Layout, disk_errors, dumps
from engine.archive.places import places_of, root_of, server_of
from engine.archive.portfolios import keep_portfolio
from engine.archive.reports import ArchiveViewWriter, keep
from engine.archive.writer import ArchiveRunWriter
from engine.errors import Side
from engine.protocols import Reader, SystemOptions
from engine.records import Collection, Json, Namespace, Portfolio, Project, Receipt, Run, SystemInfo
from engine.reports import Sweep
from engine.transfer.context import Context

LEFT_OVER_S: Final = 86_400
"""What is in the staging directory for so long, nobody is writing any more."""


def _is_of_one_server(one: Mapping[str, Json], other: Mapping[str, Json]) -> bool:
    return bool(one.get("server") is not None and one.get("server") == other.get("server"))


class ArchiveDestination:
    """Keeps runs in a directory, which is made if need be.

    Args:
        rest: the path after ``archive:``.
        logs: whether to keep system metrics and console output too, where the source has them.
    """

    def __init__(
        self,
        rest: str,
        options: SystemOptions | None = None,  # noqa: ARG002 - none of them concerns an archive
        *,
        logs: bool = True,
    ) -> None:
        self._layout = Layout(root_of(rest), Side.DESTINATION)
        self._rest, self._logs = rest, logs
        self.uri = f"archive:{rest}"
        self._context: Context

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        self._context = context
        self._blobs = Blobs(self._layout)
        self._contents = Contents(self._layout, self._blobs)
        self._addresses = Addresses({}, None)
        with disk_errors(Side.DESTINATION, self.uri):
            await run_sync(self._layout.facts)
        yield SystemInfo(
            uri=self.uri, product="archive", version=str(VERSION), server=server_of(self._layout.root)
        )

    async def prepare(self, projects: Sequence[Project]) -> Mapping[Namespace, Namespace]:
        targets = places_of(projects, self._context.remap)
        self._addresses = Addresses(targets, self._context.source)
        with disk_errors(Side.DESTINATION, self.uri):
            await run_sync(self._make, projects, targets)
        return targets

    def _make(self, projects: Sequence[Project], targets: Mapping[Namespace, Namespace]) -> None:
        facts = (self._layout.facts() or {"format": FORMAT, "origins": []}) | {"version": VERSION}
        if (source := self._context.source) is not None:
            origin = {
                "uri": source.origin or source.uri,
                "product": source.product,
                "server": source.first_server,
            }
            others = [each for each in facts["origins"] if each["uri"] != origin["uri"]]
            if foreign := [each["uri"] for each in others if not _is_of_one_server(each, origin)]:
                self._context.lose(
                    "origins_mixed",
                    self.uri,
                    f"it has runs of {foreign[-1]}, too: restored from here, all are told to come from "
                    f"{origin['uri']}; a directory for each server keeps that right",
                )
            facts["origins"] = [*others, origin]
        self._layout.root.mkdir(parents=True, exist_ok=True)
        self._layout.write(self._layout.root / "archive.json", dumps(facts).encode())
        if self._layout.staging.is_dir():
            for left in self._layout.staging.iterdir():
                if time.time() - left.stat().st_mtime > LEFT_OVER_S:
                    left.unlink(missing_ok=True)
        for project in projects:
            kept = replace(project, namespace=targets[project.namespace])
            path = self._layout.project(kept.namespace) / "project.json"
            self._layout.write(path, dumps(plain(kept)).encode())

    async def open_run(self, run: Run, namespace: Namespace) -> ArchiveRunWriter:
        place = self._layout.run(namespace, run.id)
        with disk_errors(Side.DESTINATION, str(place.record)):
            before = await run_sync(read_record, self._layout, place.record, "run", {"id": run.id})
        return ArchiveRunWriter(
            run=replace(run, namespace=namespace),
            place=place,
            layout=self._layout,
            contents=self._contents,
            context=self._context,
            before=before,
            logs=self._logs,
        )

    async def open_collection(self, collection: Collection, namespace: Namespace) -> ArchiveCollectionWriter:
        place = self._layout.collection(namespace, collection.type, collection.name)
        names = {"type": collection.type, "name": collection.name}
        with disk_errors(Side.DESTINATION, str(place.record)):
            before = await run_sync(read_record, self._layout, place.record, COLLECTION, names)
        return ArchiveCollectionWriter(
            place=place,
            layout=self._layout,
            contents=self._contents,
            context=self._context,
            addresses=self._addresses,
            before=before,
        )

    def adopt_sweep(self, sweep: Sweep, note: Json) -> None:
        """Runs name a sweep by the id that it has at the source."""

    async def write_portfolio(self, portfolio: Portfolio, *, whole: bool) -> Receipt:  # noqa: ARG002
        kept = self._addresses.portfolio(portfolio)
        return await run_sync(keep_portfolio, self._layout, kept)

    async def write_sweep(self, sweep: Sweep, namespace: Namespace) -> Receipt:
        return await keep(self._layout, replace(sweep, namespace=namespace))

    def view_writer(
        self,
        places: Mapping[Namespace, Namespace],  # noqa: ARG002
        read: Reader,
    ) -> ArchiveViewWriter:
        return ArchiveViewWriter(self._layout, self._blobs, self._addresses, self._context, read)

    def audit(self) -> ArchiveAudit:
        return ArchiveAudit(self._rest)
