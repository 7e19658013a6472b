"""A source and a destination of collections in memory, with faults at single versions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from engine.errors import Conflict, NeedsRecreation, NotYet, Side
from engine.protocols import Reader
from engine.records import (
    Artifact,
    ArtifactEntry,
    Collection,
    Namespace,
    Portfolio,
    Project,
    Receipt,
    Version,
)
from tests.memory import MemoryDestination, MemorySource

HOME = Namespace("", "vision")


def version(name: str, number: int, digest: str = "", portfolios: Sequence[str] = ()) -> Version:
    artifact = Artifact(
        namespace=HOME, name=name, type="dataset", version=number, digest=digest or f"{name}{number}"
    )
    return Version(artifact=artifact, portfolios=tuple(collection(one) for one in portfolios))


def collection(name: str) -> Collection:
    return Collection(namespace=HOME, name=name, type="dataset")


@dataclass
class Shelf(MemorySource):
    """A source with collections, and links between them.

    Attributes:
        listed: portfolios that the project itself lists.
    """

    shelves: dict[str, list[Version]] = field(default_factory=dict)
    linked: dict[str, Portfolio] = field(default_factory=dict)
    listed: tuple[str, ...] = ()

    async def collections(self, project: Project) -> AsyncGenerator[Collection]:
        assert project.namespace == HOME
        for name in self.shelves:
            yield collection(name)

    async def collection(self, collection: Collection) -> tuple[Collection, Sequence[Version]]:
        self._fail(f"collection:{collection.name}")
        return collection, tuple(self.shelves[collection.name])

    async def entries(self, artifact: Artifact) -> AsyncGenerator[ArtifactEntry]:
        self._fail(f"{artifact.name}:v{artifact.version}")
        yield ArtifactEntry(path="file")

    async def portfolios(self, project: Project) -> AsyncGenerator[Collection]:
        assert project.namespace == HOME
        for name in self.listed:
            yield collection(name)

    async def portfolio(self, collection: Collection) -> Portfolio:
        self._fail(f"portfolio:{collection.name}")
        return self.linked[collection.name]


@dataclass
class Rack(MemoryDestination):
    """A destination with collections, which writes down what is asked of it.

    Attributes:
        needs: what a version has to find there before.
        stale: collections that have to be deleted before they can be written.
        in_order: whether versions get their numbers by the order in which they come.
    """

    held: dict[str, dict[int, str]] = field(default_factory=dict)
    needs: dict[str, str] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)
    in_order: bool = True
    asked: list[str] = field(default_factory=list)

    async def open_collection(self, collection: Collection, namespace: Namespace) -> RackWriter:
        assert namespace == Namespace("me", "vision")
        return RackWriter(self, collection.name, self.in_order)

    async def delete_collection(self, collection: Collection, namespace: Namespace) -> None:
        assert namespace == Namespace("me", "vision")
        self.asked.append(f"delete {collection.name}")
        self.held.pop(collection.name, None)
        self.stale.discard(collection.name)

    async def write_portfolio(self, portfolio: Portfolio, *, whole: bool) -> Receipt:
        self.act(f"link:{portfolio.collection.name}")
        self.asked.append(f"link {portfolio.collection.name}{'' if whole else ', of a part'}")
        return Receipt()


@dataclass
class RackWriter:
    rack: Rack
    name: str
    in_order: bool

    async def write(self, version: Version, entries: AsyncIterator[ArtifactEntry], read: Reader) -> Receipt:
        assert read is not None
        key = f"{self.name}:v{version.number}"
        self.rack.act(key)
        if self.name in self.rack.stale:
            raise NeedsRecreation("others have it", side=Side.DESTINATION)
        if (need := self.rack.needs.get(key)) is not None:
            other, _, number = need.partition(":v")
            if int(number) not in self.rack.held.get(other, {}):
                raise NotYet(f"{need} is not there", side=Side.DESTINATION)
        assert [entry.path async for entry in entries] == ["file"]
        held = self.rack.held.setdefault(self.name, {})
        if held.get(version.number, version.artifact.digest) != version.artifact.digest:
            raise Conflict("taken", side=Side.DESTINATION)
        self.rack.asked.append(f"write {key}")
        held[version.number] = version.artifact.digest or ""
        return Receipt(items=1)

    async def finish(self, collection: Collection, versions: Sequence[Version]) -> Receipt:
        self.rack.asked.append(f"finish {collection.name} of {len(versions)}")
        return Receipt()


def shelf(shelves: dict[str, list[Version]], **rest: object) -> Shelf:
    """A source of one project without runs."""
    return replace(Shelf({"vision": []}, shelves=shelves), **rest)  # type: ignore[arg-type]
