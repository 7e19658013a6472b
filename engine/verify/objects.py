"""What belongs to no single run, read back at the destination and hashed; the source is not needed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from itertools import groupby

from engine.errors import EngineError, NotFound
from engine.protocols import CollectionSource
from engine.records import Collection, Namespace, Project
from engine.reports import ReportSource
from engine.verify.audit import Audit, CollectionAudit, ReportAudit
from engine.verify.certificate import CertifiedObject
from engine.verify.collections import COLLECTION, VERSION, certified_collection, certified_version
from engine.verify.findings import Level
from engine.verify.reports import REPORT, SWEEP, certified_sweep, certified_view
from engine.verify.scope import is_fatal
from engine.verify.versions import entries_at


async def read_back(
    audit: Audit, wanted: Iterable[CertifiedObject], level: Level
) -> AsyncGenerator[tuple[CertifiedObject, CertifiedObject | EngineError | None]]:
    """Each of these objects and what it is now; None if it is gone, or why that cannot be read.

    Raises:
        EngineError: nothing further can be read.
    """

    def group(one: CertifiedObject) -> tuple[str, str, str]:
        # A collection is read with all its versions, the others with all of their kind in a project.
        if one.kind in (COLLECTION, VERSION):
            return one.project, COLLECTION, _collection_of(one)
        return one.project, one.kind, ""

    for (project, kind, name), several in groupby(sorted(wanted, key=group), group):
        namespace, unread = Namespace.from_path(project), None
        found: Mapping[tuple[str, str], CertifiedObject] = {}
        try:
            if kind == COLLECTION:
                found = await _collection(audit, namespace, name, level)
            else:
                found = await _of_project(audit, namespace, kind)
        except EngineError as error:
            if is_fatal(error):
                raise
            unread = error
        for one in several:
            yield one, found.get((one.kind, one.name)) if unread is None else unread


def _collection_of(one: CertifiedObject) -> str:
    return one.name if one.kind == COLLECTION else one.name.rpartition(":v")[0]


async def _collection(
    audit: Audit, namespace: Namespace, name: str, level: Level
) -> Mapping[tuple[str, str], CertifiedObject]:
    assert isinstance(audit, CollectionAudit)
    assert isinstance(audit.source, CollectionSource)
    type_, _, bare = name.partition("/")
    try:
        collection, versions = await audit.source.collection(
            Collection(namespace=namespace, name=bare, type=type_)
        )
    except NotFound:
        return {}
    found = [certified_collection(audit, collection)]
    for version in versions:
        entries = await entries_at(audit, version.artifact, level)
        found.append(certified_version(audit, version, entries))
    return {(one.kind, one.name): one for one in found}


async def _of_project(
    audit: Audit, namespace: Namespace, kind: str
) -> Mapping[tuple[str, str], CertifiedObject]:
    assert isinstance(audit, ReportAudit)
    assert isinstance(audit.source, ReportSource)
    project = Project(namespace=namespace, id=namespace.path)
    found: dict[tuple[str, str], CertifiedObject] = {}
    try:
        if kind == SWEEP:
            async with aclosing(audit.source.sweeps(project)) as sweeps:
                async for sweep in sweeps:
                    found[SWEEP, sweep.id] = certified_sweep(audit, sweep)
        elif kind == REPORT:
            async with aclosing(audit.source.views(project)) as views:
                async for view in views:
                    found[REPORT, view.id] = certified_view(audit, view)
    except NotFound:
        return {}
    return found
