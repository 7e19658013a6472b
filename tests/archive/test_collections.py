"""Collections, portfolios, sweeps and views come out of an archive as they went in, whatever they are."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from engine.archive import ArchiveDestination, ArchiveSource
from engine.errors import CommError, IntegrityError, Side
from engine.protocols import (
    CollectionDestination,
    CollectionSource,
    LinkDestination,
    LinkSource,
    PartlyCollected,
)
from engine.records import (
    Artifact,
    ArtifactEntry,
    Blob,
    Collection,
    Link,
    Namespace,
    Portfolio,
    Project,
    Registry,
    RunRef,
    Use,
    Version,
    VersionRef,
)
from engine.remapping.source import Renaming
from engine.reports import ReportDestination, ReportSource, Sweep, View
from engine.transfer.context import Context
from engine.transfer.engine import Engine
from engine.transfer.options import Options, Result
from tests.archive.reading import EVERYTHING, exact, told_of
from tests.archive.test_conformance import contents
from tests.conformance import read_blob
from tests.memory import MemorySource

pytestmark = pytest.mark.anyio

HERE = Namespace("", "p")
NAMES = ("../../evil", "CON", "con", "a/b", "model")


def version(name: str, number: int, **said: Any) -> Version:
    artifact = Artifact(namespace=HERE, name=name, type="../t", version=number, digest=f"{name}{number}")
    return Version(
        artifact=replace(artifact, **said),
        used_by=(RunRef(HERE, "r"), RunRef(HERE, "s")),
        used_as=(Use(RunRef(HERE, "s"), "data"),),
    )


@dataclass
class Collected(MemorySource):
    """A source with collections; an entry says what version it is of."""

    versions: dict[str, list[Version]] = field(default_factory=dict)
    kept_portfolios: list[Portfolio] = field(default_factory=list)
    kept_sweeps: list[Sweep] = field(default_factory=list)
    kept_views: list[View] = field(default_factory=list)
    entries_read: int = 0

    async def collections(self, project: Project) -> AsyncGenerator[Collection]:
        for name in self.versions:
            yield Collection(namespace=HERE, name=name, type="../t", description="all", tags=("t",))

    async def collection(self, collection: Collection) -> tuple[Collection, Sequence[Version]]:
        return collection, self.versions[collection.name]

    async def entries(self, artifact: Artifact) -> AsyncGenerator[ArtifactEntry]:
        self._fail(f"{artifact.name}:v{artifact.version}")
        self.entries_read += 1
        yield ArtifactEntry(path="../../x", size=len(artifact.digest or ""), locator=artifact.digest or "")
        yield ArtifactEntry(path="ref", ref="s3://b/k", digest="etag", extra={"etag": "e"})

    async def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        yield blob.locator.encode()[offset:]

    async def portfolios(self, project: Project) -> AsyncGenerator[Collection]:
        for portfolio in self.kept_portfolios:
            yield portfolio.collection

    async def portfolio(self, collection: Collection) -> Portfolio:
        return next(one for one in self.kept_portfolios if one.collection == collection)

    async def sweeps(self, project: Project) -> AsyncGenerator[Sweep]:
        for sweep in self.kept_sweeps:
            yield sweep

    async def views(self, project: Project) -> AsyncGenerator[View]:
        for view in self.kept_views:
            yield view


def collected() -> Collected:
    return Collected(
        {"p": []},
        versions={
            name: [
                version(name, 0, aliases=("first",), ttl_s=60),
                version(name, 3, aliases=("latest",), tags=("x",), metadata={"n": math.nan}),
            ]
            for name in NAMES
        },
        kept_portfolios=[
            Portfolio(
                collection=Collection(namespace=HERE, name="../linked", type="model"),
                links=(Link(number=2, target=VersionRef(HERE, "model", 3), aliases=("prod",)),),
                registry=Registry(namespace=HERE, description="of all", access="PRIVATE", types=("model",)),
            )
        ],
        kept_sweeps=[Sweep(namespace=HERE, id="../s", config="method: grid", state="RUNNING")],
        kept_views=[
            View(
                namespace=HERE, id="VIEW", kind="runs", name="r", spec={"x": math.nan}, files={"u": "bytes"}
            ),
            View(namespace=HERE, id="view", kind="runs/draft", name="d", spec={}, parent_id="VIEW"),
        ],
    )


async def archived(source: Collected, root: Path, **options: Any) -> Result:
    async with Engine(source, ArchiveDestination(str(root)), Options(**options)) as engine:
        return await engine.run()


async def told(source: Any) -> dict[str, Any]:
    """All that belongs to no run, in a form that can be compared."""
    found: dict[str, Any] = {}
    async with source.open(Context(spool=Path())):
        (project,) = [each async for each in source.projects(EVERYTHING)]
        async for listed in source.collections(project):
            collection, versions = await source.collection(listed)
            found[f"collection {collection.name}"] = (
                replace(collection, locator=""),
                [
                    (replace(one, artifact=replace(one.artifact, locator="")), await contents_of(source, one))
                    for one in versions
                ],
            )
        found["portfolios"] = [await source.portfolio(each) async for each in source.portfolios(project)]
        found["sweeps"] = [each async for each in source.sweeps(project)]
        found["views"] = [
            (
                replace(each, files={}),
                [await read_blob(source, Blob(path=a, locator=b)) for a, b in each.files.items()],
            )
            async for each in source.views(project)
        ]
    return found


async def contents_of(source: Any, one: Version) -> list[Any]:
    return [
        (replace(entry, locator=""), b"" if entry.ref else await read_blob(source, entry))
        async for entry in source.entries(one.artifact)
    ]


def test_an_archive_offers_all_that_the_kernel_asks_for(tmp_path: Path):
    source, destination = ArchiveSource(str(tmp_path)), ArchiveDestination(str(tmp_path))
    sides: tuple[type, ...] = (CollectionSource, PartlyCollected, LinkSource, ReportSource, Renaming)
    assert [kind for kind in sides if not isinstance(source, kind)] == []
    sides = (CollectionDestination, LinkDestination, ReportDestination)
    assert [kind for kind in sides if not isinstance(destination, kind)] == []


async def test_all_of_it_comes_back(tmp_path: Path):
    root = tmp_path / "archive"
    assert (await archived(collected(), root)).failures == []
    assert exact(await told(ArchiveSource(str(root)))) == exact(await told(collected()))
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]
    assert not (root / ".arriving").exists() or not any((root / ".arriving").rglob("*.json"))


async def test_a_second_archiving_writes_nothing_with_or_without_a_ledger(tmp_path: Path):
    root, state, source = tmp_path / "archive", tmp_path / "state", collected()
    await archived(source, root, state_dir=state)
    before, read = contents(root), source.entries_read
    await archived(source, root, state_dir=state)
    assert (contents(root), source.entries_read) == (before, read)
    await archived(source, root)
    assert contents(root) == before
    assert source.entries_read == read, "what is there and sound is not asked for again"


async def test_what_the_source_has_no_more_stays_and_an_alias_is_on_one_version(tmp_path: Path):
    root, source = tmp_path / "archive", collected()
    await archived(source, root)
    source.versions["model"] = [version("model", 4, aliases=("latest",))]
    await archived(source, root)
    found = await told(ArchiveSource(str(root)))
    versions = [one for one, _ in found["collection model"][1]]
    assert [(one.number, one.artifact.aliases) for one in versions] == [
        (0, ("first",)),
        (3, ()),
        (4, ("latest",)),
    ]
    assert any(path.is_file() for path in (root / "earlier").rglob("*"))


async def test_a_version_that_fails_is_told_and_brought_another_time(tmp_path: Path):
    root, state, source = tmp_path / "archive", tmp_path / "state", collected()
    source.faults["model:v0"] = CommError("no", side=Side.SOURCE)
    result = await archived(source, root, state_dir=state)
    assert [failure.subject for failure in result.failures] == ["artifact model:v0 of p"]
    assert result.exit_status == 1
    found = await told(ArchiveSource(str(root)))
    assert [one.number for one, _ in found["collection model"][1]] == [3], "the others do not wait"
    source.faults.clear()
    assert (await archived(source, root, state_dir=state)).exit_status == 0
    assert exact(await told(ArchiveSource(str(root)))) == exact(await told(collected()))


async def test_a_blob_that_is_damaged_costs_one_version_and_is_mended_by_archiving_again(tmp_path: Path):
    root, copy = tmp_path / "archive", tmp_path / "copy"
    await archived(collected(), root)
    before = contents(root)
    (blob,) = [path for path in root.glob("blobs/*/*") if path.read_bytes() == b"model3"]
    blob.write_bytes(b"model?")
    async with Engine(ArchiveSource(str(root)), ArchiveDestination(str(copy))) as engine:
        result = await engine.run()
    assert [failure.subject for failure in result.failures] == ["artifact model:v3 of p"]
    assert len((await told(ArchiveSource(str(copy))))["collection CON"][1]) == 2
    await archived(collected(), root)
    assert contents(root) == before


@pytest.mark.parametrize("kind", ["collections", "portfolios", "sweeps", "views"])
async def test_a_record_that_is_damaged_is_told_and_the_others_come(tmp_path: Path, kind: str):
    root, copy = tmp_path / "archive", tmp_path / "copy"
    await archived(collected(), root)
    damaged = sorted(root.glob(f"projects/*/{kind}/*.json"))
    damaged[0].write_text("[]")
    async with Engine(ArchiveSource(str(root)), ArchiveDestination(str(copy))) as engine:
        result = await engine.run()
    assert [failure.kind for failure in result.failures] == ["IntegrityError"]
    assert result.exit_status == 1
    assert len(list(copy.glob(f"projects/*/{kind}/*.json"))) == len(damaged) - 1


async def test_a_record_cannot_point_out_of_the_archive(tmp_path: Path):
    root = tmp_path / "archive"
    await archived(collected(), root)
    (record,) = root.glob("projects/*/collections/t-model-*.json")
    said = json.loads(record.read_bytes())
    said["versions"]["0"]["entries"]["sha256"] = "../../../../etc/passwd"
    record.write_text(json.dumps(said))
    with pytest.raises(IntegrityError, match="no digest"):
        await told(ArchiveSource(str(root)))


async def test_an_archive_of_the_first_layout_is_read_and_goes_on_in_the_second(tmp_path: Path):
    root = tmp_path / "archive"
    await archived(Collected({"p": []}), root)
    facts = root / "archive.json"
    facts.write_text(facts.read_text().replace('"version":2', '"version":1'))
    assert len(await told_of(ArchiveSource(str(root)), Context(spool=tmp_path))) == 1
    await archived(collected(), root)
    assert json.loads(facts.read_bytes())["version"] == 2
    assert len((await told(ArchiveSource(str(root))))["sweeps"]) == 1


async def test_a_project_that_is_kept_under_another_name_is_found_by_it(tmp_path: Path):
    root, source = tmp_path / "archive", collected()
    await archived(source, root, remap={"p": "team/q"})
    found = await told(ArchiveSource(str(root)))
    there = Namespace("team", "q")
    kept, _ = found["collection model"][1][0]
    assert (kept.artifact.namespace, kept.used_by[0]) == (there, RunRef(there, "r"))
    assert kept.used_as == (Use(RunRef(there, "s"), "data"),)
    assert found["portfolios"][0].links[0].target.namespace == there
    assert found["views"][0][0].namespace == there


@dataclass
class Growing(Collected):
    """A source to which somebody logs a version while the others are moved."""

    looks: int = 0

    async def collection(self, collection: Collection) -> tuple[Collection, Sequence[Version]]:
        self.looks += 1
        if self.looks == 2:
            self.versions["model"] = [*self.versions["model"], version("model", 4)]
        return collection, self.versions[collection.name]


async def test_a_version_that_comes_meanwhile_arrives_the_next_time(tmp_path: Path):
    root, state = tmp_path / "archive", tmp_path / "state"
    source = Growing({"p": []}, versions={"model": [version("model", 0)]})
    for numbers in ([0], [0, 4]):
        assert (await archived(source, root, state_dir=state)).failures == []
        found = await told(ArchiveSource(str(root)))
        assert [one.number for one, _ in found["collection model"][1]] == numbers
