"""Sweeps, reports and saved views on both sides: what each says, and where it points."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, TypeVar

from engine.errors import NotFound
from engine.records import Blob, Json, Namespace, Project
from engine.reports import ReportSource, Sweep, View
from engine.verify.audit import ReportAudit
from engine.verify.certificate import CertifiedObject
from engine.verify.contents import Contents
from engine.verify.merkle import facts_root, root_of
from engine.verify.scope import Scope
from engine.verify.values import canonical, shown

ThingT = TypeVar("ThingT", Sweep, View)

SWEEP: Final = "sweep"
REPORT: Final = "report"
"""How certificates call them."""

_SHOWN: Final = 3
"""Places that are named of one view."""


@dataclass(slots=True, kw_only=True)
class ReportsCheck:
    """Compares all sweeps and views of some projects.

    Attributes:
        targets: where projects went.
        failed: what is known not to have arrived, and why, by subject.
        roots: what the destination holds.
    """

    scope: Scope
    source: ReportSource
    audit: ReportAudit
    targets: Mapping[Namespace, Namespace]
    failed: Mapping[str, str]
    roots: list[CertifiedObject] = field(default_factory=list)

    async def compare_sweeps(self, projects: Sequence[Project]) -> None:
        """All sweeps; which runs belong to them is said of the runs.

        Raises:
            EngineError: nothing further can be read.
        """
        await self._each("sweeps", projects, self.source.sweeps, self._sweep)

    async def compare_views(self, projects: Sequence[Project]) -> None:
        """All reports, drafts and saved views.

        Raises:
            EngineError: nothing further can be read.
        """
        await self._each("reports", projects, self.source.views, self._view)

    async def _each(
        self,
        what: str,
        projects: Sequence[Project],
        listed: Callable[[Project], AsyncGenerator[ThingT]],
        compare: Callable[[ThingT, Namespace], Awaitable[None]],
    ) -> None:
        for project in projects:
            subject = f"{what} of {project.namespace}"
            try:
                async with aclosing(listed(project)) as things:
                    async for thing in things:
                        await self._one(thing, self.targets[project.namespace], compare)
            except Exception as error:  # noqa: BLE001 - becomes a finding
                self.scope.unread(subject, error, expected=subject in self.failed)

    async def _one(
        self, thing: ThingT, namespace: Namespace, compare: Callable[[ThingT, Namespace], Awaitable[None]]
    ) -> None:
        subject = str(thing)
        if (reason := self.failed.get(subject)) is not None:
            self.scope.leave_out(subject, reason, expected=True)
            return
        try:
            await compare(thing, namespace)
        except Exception as error:  # noqa: BLE001 - becomes a finding
            self.scope.unread(subject, error)

    async def _sweep(self, sweep: Sweep, namespace: Namespace) -> None:
        self.scope.findings.counts.sweeps += 1
        found = await self.audit.sweep(sweep, namespace)
        if found is None:
            self.scope.differ("missing", SWEEP, f"is missing in {namespace}", str(sweep))
            return
        expected = self.audit.expected_sweep(sweep)
        self.scope.compare_facts(expected, self.audit.found_sweep(found), str(sweep))
        self.roots.append(certified_sweep(self.audit, found))

    async def _view(self, view: View, namespace: Namespace) -> None:
        self.scope.findings.counts.reports += 1
        there = await self.audit.view(view, namespace)
        if there is None:
            self.scope.differ("missing", REPORT, f"is missing in {namespace}", str(view))
            return
        expected, found = await self.audit.expected_view(view), self.audit.found_view(there)
        said = self.audit.said_of_view
        self.scope.compare_facts(said(expected), said(found), str(view))
        for kind, detail in differing_specs(expected.spec, found.spec):
            self.scope.differ(kind, REPORT, detail, str(view))
        await self._compare_files(view, self.audit.files_of_view(expected), self.audit.files_of_view(found))
        self.roots.append(certified_view(self.audit, there))

    async def _compare_files(
        self, view: View, expected: Mapping[str, Blob], found: Mapping[str, Blob]
    ) -> None:
        gone = [
            address for address in expected.keys() - found.keys() if await self._is_gone(expected[address])
        ]
        for address in sorted(gone):
            detail = f"{_bare(address)} is not at the source any more"
            self.scope.context.lose("report_file_missing", str(view), detail)
        wanted = {address: blob for address, blob in expected.items() if address not in gone}
        read = self.scope.source.read, self.audit.source.read
        contents = Contents(self.scope.level, read, self.scope.findings.counts)
        for kind, address, detail in await contents.differences(wanted, found):
            self.scope.differ(kind, REPORT, f"file {_bare(address)}: {detail}", str(view))

    async def _is_gone(self, blob: Blob) -> bool:
        try:
            async with aclosing(self.scope.source.read(blob)) as pieces:
                async for _ in pieces:
                    break
        except NotFound:
            return True
        return False


def _bare(address: str) -> str:
    """An address without what may be a signature."""
    return address.partition("?")[0]


def differing_specs(expected: Json, found: Json) -> Iterator[tuple[str, str]]:
    """The first places of two specs that are not the same, as (kind, detail)."""
    for shown_so_far, (place, kind, detail) in enumerate(_differing(expected, found, "")):
        if shown_so_far == _SHOWN:
            yield "changed", "… and more places"
            return
        yield kind, f"{place.removeprefix('.') or 'all of it'}: {detail}"


def _differing(expected: Json, found: Json, place: str) -> Iterator[tuple[str, str, str]]:
    if canonical(expected) == canonical(found):
        return
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in sorted(expected.keys() | found.keys()):
            inner = f"{place}.{key}"
            if key not in found:
                yield inner, "missing", f"is missing; {shown(expected[key])} expected"
            elif key not in expected:
                yield inner, "extra", f"is {shown(found[key])}; the source has none"
            else:
                yield from _differing(expected[key], found[key], inner)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (wanted, there) in enumerate(zip(expected, found, strict=True)):
            yield from _differing(wanted, there, f"{place}[{number}]")
    elif isinstance(expected, list) and isinstance(found, list):
        kind = "missing" if len(found) < len(expected) else "extra"
        yield place, kind, f"{len(expected):,} expected, {len(found):,} found"
    else:
        yield place, "changed", f"{shown(expected)} expected, {shown(found)} found"


def certified_sweep(audit: ReportAudit, found: Sweep) -> CertifiedObject:
    """A sweep at the destination."""
    return CertifiedObject(SWEEP, found.namespace.path, found.id, facts_root(audit.found_sweep(found)))


def certified_view(audit: ReportAudit, found: View) -> CertifiedObject:
    """A view at the destination."""
    view = audit.found_view(found)
    said = facts_root({("kind",): view.kind, **audit.said_of_view(view)})
    return CertifiedObject(REPORT, found.namespace.path, found.id, root_of([said, canonical(view.spec)]))
