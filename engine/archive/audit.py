"""How an archive is verified: it holds exactly what its source says."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, fields
from typing import Final, Generic, TypeVar

from engine.archive.addresses import Addresses
from engine.archive.places import places_of
from engine.archive.source import ArchiveSource
from engine.errors import IntegrityError, Side
from engine.records import Blob, Json, Namespace, Project, SystemInfo
from engine.reports import Sweep, View
from engine.transfer.context import Context
from engine.verify.audit import AsIs
from engine.verify.values import Fact, Facts

KeptT = TypeVar("KeptT", Sweep, View)

_FOUND_BY: Final = frozenset({"namespace", "id"})
_BY_THEMSELVES: Final = frozenset({"spec", "files", "artifacts"})
"""What is compared item by item."""


class ArchiveAudit(AsIs):
    """An archive read back.

    Args:
        rest: the path after ``archive:``.
    """

    def __init__(self, rest: str) -> None:
        archive = ArchiveSource(rest, side=Side.DESTINATION)
        super().__init__(archive)
        self._sweeps, self._views = _Shelf(archive.sweeps), _Shelf(archive.views)
        self._addresses = Addresses({}, None)
        self._context: Context

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        self._context = context
        async with super().open(context) as info:
            yield info

    async def places(self, projects: Sequence[Project]) -> Mapping[Namespace, Namespace]:
        places = places_of(projects, self._context.remap)
        self._addresses = Addresses(places, self._context.source)
        return places

    # -- sweeps and views: see engine.verify.audit.ReportAudit ---------------------------------------

    async def sweep(self, sweep: Sweep, namespace: Namespace) -> Sweep | None:
        return await self._sweeps.find(namespace, sweep.id)

    def expected_sweep(self, sweep: Sweep) -> Facts:
        return _said_of(sweep)

    def found_sweep(self, sweep: Sweep) -> Facts:
        return _said_of(sweep)

    async def view(self, view: View, namespace: Namespace) -> View | None:
        return await self._views.find(namespace, view.id)

    async def expected_view(self, view: View) -> View:
        return self._addresses.view(view)

    def found_view(self, view: View) -> View:
        return view

    def said_of_view(self, view: View) -> Facts:
        return _said_of(view) | {("artifact", named): uri for named, uri in view.artifacts.items()}

    def files_of_view(self, view: View) -> Mapping[str, Blob]:
        return {address: Blob(path=address, locator=locator) for address, locator in view.files.items()}


def _said_of(thing: Sweep | View) -> dict[Fact, Json]:
    left_out = _FOUND_BY | _BY_THEMSELVES
    return {(one.name,): getattr(thing, one.name) for one in fields(thing) if one.name not in left_out}


@dataclass(slots=True)
class _Shelf(Generic[KeptT]):
    """Things in an archive by their ids, those of one project at a time."""

    listed: Callable[[Project], AsyncGenerator[KeptT]]
    _home: Namespace | None = None
    _things: dict[str, KeptT] = field(default_factory=dict)
    _damage: IntegrityError | None = None

    async def find(self, namespace: Namespace, thing_id: str) -> KeptT | None:
        """
        Raises:
            IntegrityError: it is not among those that can be read, and others cannot.
        """
        if self._home != namespace:
            await self._read(namespace)
        found = self._things.get(thing_id)
        if found is None and self._damage is not None:
            raise self._damage
        return found

    async def _read(self, namespace: Namespace) -> None:
        self._home, self._things, self._damage = namespace, {}, None
        try:
            async with aclosing(self.listed(Project(namespace=namespace, id=namespace.path))) as things:
                async for thing in things:
                    self._things[thing.id] = thing
        except IntegrityError as error:  # after all others
            self._damage = error
