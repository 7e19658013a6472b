"""Sweeps, reports and saved views in an archive: one record each."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from anyio.to_thread import run_sync

from engine.archive.addresses import Addresses
from engine.archive.blobs import PIECE, Blobs
from engine.archive.codec import plain, record_of
from engine.archive.keeping import DAMAGE, all_damaged, read_record, write_record
from engine.archive.layout import Layout, disk_errors
from engine.errors import NotFound, Side
from engine.fingerprints import fingerprint
from engine.protocols import Reader
from engine.records import Blob, Json, Namespace, Receipt
from engine.reports import Sweep, View
from engine.transfer.context import Context

KeptT = TypeVar("KeptT", Sweep, View)


def _key(kind: type[Sweep | View]) -> str:
    """Of the thing in its record."""
    return "sweep" if kind is Sweep else "view"


# -- writing -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ArchiveViewWriter:
    """A ``ViewWriter``. Views keep their ids, so that pointers from one to another are good as they are.

    The locator of a file in a report is the digest of its blob.
    """

    layout: Layout
    blobs: Blobs
    addresses: Addresses
    context: Context
    read: Reader

    async def write(self, view: View, note: Json | None, *, last: bool) -> Receipt:  # noqa: ARG002
        # Without where the source finds its files, which may be told anew each time.
        looks = fingerprint(replace(view, files={}), sorted(view.files))
        if note == looks:
            return Receipt(items=1, skipped=True, note=looks)
        files = {address: await self._store(view, address) for address in view.files}
        found = {address: digest for address, digest in files.items() if digest is not None}
        receipt = await keep(self.layout, self.addresses.view(replace(view, files=found)))
        return replace(receipt, note=looks)

    async def _store(self, view: View, address: str) -> str | None:
        """Keep a file that somebody put into a report: its digest, None if it is gone at the source."""
        blob = Blob(path=address, locator=view.files[address])
        try:
            async with self.context.budget.hold(2 * PIECE), aclosing(self.read(blob)) as pieces:
                stored = await self.blobs.put(pieces, blob)
        except NotFound:
            shown = address.partition("?")[0]
            self.context.lose("report_file_missing", str(view), f"{shown} is not at the source any more")
            return None
        self.context.counters.bytes += stored.size
        self.context.counters.files += 1
        return stored.sha256


async def keep(layout: Layout, thing: Sweep | View) -> Receipt:
    """Keep what is said now of a sweep or of a view."""
    key = _key(type(thing))
    path = layout.thing(thing.namespace, key, thing.id)

    def write() -> bool:
        before = read_record(layout, path, key, {"id": thing.id})
        return write_record(layout, path, before, {key: plain(thing)})

    with disk_errors(Side.DESTINATION, str(path)):
        return Receipt(items=1, skipped=not await run_sync(write))


# -- reading -------------------------------------------------------------------------------------


async def kept(layout: Layout, namespace: Namespace, kind: type[KeptT]) -> AsyncGenerator[KeptT]:
    """The sweeps, or the views, of a project: the oldest first, but drafts after their reports.

    Raises:
        IntegrityError: after all others, if some are damaged.
    """
    key, damaged = _key(kind), dict[Path, Exception]()

    def read(path: Path) -> KeptT | None:
        try:
            return record_of(kind, json.loads(path.read_bytes())[key] | {"namespace": asdict(namespace)})
        except DAMAGE as error:
            damaged[path] = error
            return None

    def paths() -> list[Path]:
        found: list[tuple[bool, int, str, Path]] = []
        for path in layout.things(namespace, key).glob("*.json"):
            if (thing := read(path)) is not None:
                is_draft = getattr(thing, "parent_id", None) is not None
                found.append((is_draft, thing.created_at or 0, thing.id, path))
        return [path for *_, path in sorted(found)]

    with disk_errors(layout.side, f"{key}s of {namespace}"):
        for path in await run_sync(paths):
            if (thing := await run_sync(read, path)) is not None:
                yield thing
    if damaged:
        raise all_damaged(layout, damaged)
