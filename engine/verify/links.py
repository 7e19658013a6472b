"""Portfolios of some projects on both sides: what is said of them, and which versions they link to.

Those in registries belong to no project that is moved, and are not compared.
"""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from engine.errors import NotFound
from engine.protocols import LinkSource
from engine.records import Collection, Link, Namespace, Project, RunRef, VersionRef
from engine.verify.audit import CollectionAudit
from engine.verify.scope import Scope
from engine.verify.values import Facts

PORTFOLIO: Final = "portfolio"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinksCheck:
    """Compares the portfolios of some projects.

    Attributes:
        source, there: both sides, to be read.
        targets: where projects went.
        failed: what is known not to have arrived, and why, by subject.
        chosen: if not all runs were moved, those that were: then links may be missing.
    """

    scope: Scope
    source: LinkSource
    there: LinkSource
    audit: CollectionAudit
    targets: Mapping[Namespace, Namespace]
    failed: Mapping[str, str]
    chosen: Some[RunRef] | None

    async def compare(self, projects: Sequence[Project]) -> None:
        """All of them.

        Raises:
            EngineError: nothing further can be read.
        """
        for project in projects:
            try:
                async with aclosing(self.source.portfolios(project)) as portfolios:
                    async for listed in portfolios:
                        if listed.namespace == project.namespace:
                            await self._compare(listed)
            except Exception as error:  # noqa: BLE001 - becomes a finding
                self.scope.unread(f"portfolios of {project.namespace}", error)

    async def _compare(self, listed: Collection) -> None:
        subject = f"portfolio {listed}"
        if (reason := self.failed.get(subject)) is not None:
            self.scope.leave_out(subject, reason, expected=True)
            return
        expected = await self.source.portfolio(listed)
        wanted = {here: link for link in expected.links if (here := self._here(link)) is not None}
        place = self.audit.portfolio_here(listed, self.targets[listed.namespace])
        try:
            found = await self.there.portfolio(place)
        except NotFound:
            if wanted and self.chosen is None:
                self.scope.differ("missing", PORTFOLIO, f"is missing in {place.namespace}", subject)
            return
        self.scope.compare_facts(
            self.audit.expected_collection(expected.collection),
            self.audit.found_collection(found.collection),
            subject,
        )
        there = {link.target: link for link in found.links}
        for target, link in wanted.items():
            self._compare_link(target, link, there.get(target), subject)
        self.scope.findings.counts.collections += 1

    def _compare_link(self, target: VersionRef, link: Link, found: Link | None, subject: str) -> None:
        if found is None:
            if self.chosen is None:
                detail = f"link to {target.name}:v{target.number} is missing"
                self.scope.differ("missing", "link", detail, subject)
            return
        if found.number != link.number:
            detail = f"link to {target.name}:v{target.number} became v{found.number}"
            self.scope.context.lose("link_renumbered", f"{subject}:v{link.number}", detail)
        self.scope.compare_facts(self._said(link), self._said(found), f"{subject}:v{link.number}")

    def _said(self, link: Link) -> Facts:
        return {("alias", alias): True for alias in self.audit.aliases_here(link)}

    def _here(self, link: Link) -> VersionRef | None:
        """Where the version has to be that a link is to; None if it was not moved."""
        target = link.target
        if target.namespace not in self.targets:
            return None
        place = self.targets[target.namespace]
        name = self.audit.collection_here(
            Collection(namespace=target.namespace, name=target.name, type=""), place
        ).name
        return replace(target, namespace=place, name=name)
