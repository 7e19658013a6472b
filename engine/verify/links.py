"""Portfolios on both sides: what is said of them, and which versions they link to.

Those of the projects that were moved, and those elsewhere, as in registries, that link to versions of them.
Others may have a part in a portfolio: what they linked there, and what they say of it, is theirs.
"""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
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
    _seen: set[str] = field(default_factory=set)

    async def compare(self, projects: Sequence[Project], others: Iterable[Collection]) -> None:
        """All of them.

        Args:
            others: those that versions are linked into, wherever they are.

        Raises:
            EngineError: nothing further can be read.
        """
        for project in projects:
            try:
                async with aclosing(self.source.portfolios(project)) as portfolios:
                    async for listed in portfolios:
                        await self._compare_once(listed)
            except Exception as error:  # noqa: BLE001 - becomes a finding
                self.scope.unread(f"portfolios of {project.namespace}", error)
        for listed in sorted(others, key=str):
            await self._compare_once(listed)

    async def _compare_once(self, listed: Collection) -> None:
        subject = f"portfolio {listed}"
        if subject in self._seen:
            return
        self._seen.add(subject)
        if (reason := self.failed.get(subject)) is not None:
            self.scope.leave_out(subject, reason, expected=True)
            return
        try:
            namespace = self.targets.get(listed.namespace)
            namespace = namespace or await self.audit.portfolio_place(listed.namespace)
            if namespace is None:
                self.scope.context.lose("portfolio_dropped", subject, "its project is not moved")
            else:
                await self._compare(listed, namespace, subject)
        except Exception as error:  # noqa: BLE001 - becomes a finding
            self.scope.unread(subject, error)

    async def _compare(self, listed: Collection, namespace: Namespace, subject: str) -> None:
        expected = await self.source.portfolio(listed)
        wanted = {here: link for link in expected.links if (here := self._here(link)) is not None}
        place = self.audit.portfolio_here(listed, namespace)
        try:
            found = await self.there.portfolio(place)
        except NotFound:
            if self.chosen is None or not expected.links:
                self.scope.differ("missing", PORTFOLIO, f"is missing in {place.namespace}", subject)
            return
        there = {link.target: link for link in found.links}
        theirs = {alias for target, link in there.items() if target not in wanted for alias in link.aliases}
        facts = self.audit.expected_collection(expected.collection)
        said = self.audit.found_collection(found.collection)
        if there.keys() - wanted.keys():
            facts = {fact: value for fact, value in facts.items() if len(fact) > 1}
            said = {fact: value for fact, value in said.items() if fact in facts}
        self.scope.compare_facts(facts, said, subject)
        for target, link in wanted.items():
            self._compare_link(target, self._without(link, theirs, subject), there.get(target), subject)
        self.scope.findings.counts.collections += 1

    def _without(self, link: Link, theirs: Some[str], subject: str) -> Link:
        """A link without the aliases that links of others have at the destination."""
        for alias in sorted({*link.aliases}.intersection(theirs)):
            detail = f"{alias!r}, which a link of others has at the destination"
            self.scope.context.lose("alias_dropped", f"{subject}:v{link.number}", detail)
        return replace(link, aliases=tuple(alias for alias in link.aliases if alias not in theirs))

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
