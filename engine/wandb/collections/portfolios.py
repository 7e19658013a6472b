"""Portfolios at the destination: each link under the number that it had, with its aliases.

Several may have a part in a portfolio, in a registry above all. What others linked there is theirs: it is
never taken away, keeps its aliases, and may have taken the number of a link that comes later.

A link gets the next number, as a version does, and its number is not given again when it is taken back. So a
link that would come too low is taken back and made again until it has its number. The ledger remembers that
it is being made, so that one that was left half way is gone on with, and none of others is mistaken for it.

What a server does with a version that is linked already, nothing or a link under a new number, is nowhere
told. So it never is: who does not know whether a link was made looks before making it again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from engine.errors import Conflict, NotFound, NotYet, Side
from engine.records import Collection, Json, Link, Namespace, Portfolio, Receipt, VersionRef
from engine.transfer.context import Context
from engine.transfer.ledger.items import Kind
from engine.transfer.ledger.memos import RunMemos
from engine.wandb import documents
from engine.wandb.client import WandbClient
from engine.wandb.collections.labels import Labels, Member
from engine.wandb.collections.version_ids import VersionIds
from engine.wandb.jsontext import clean_text
from engine.wandb.names import artifact_name, artifact_type, is_alias
from engine.wandb.reading.collections import SEQUENCE, read_collection
from engine.wandb.reading.portfolios import HeldPortfolio, read_portfolio
from engine.wandb.reading.registries import Registries

LATEST: Final = "latest"
"""The alias that the server itself moves to whatever was linked last."""

MAKING, MADE = "making", "made"
"""What the ledger remembers of a link."""

FindHome: TypeAlias = Callable[[Namespace], Namespace | None]
"""Where the versions of a project of the source are; None if they are not brought."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioWriter:
    """One portfolio being written.

    Attributes:
        namespace: where it goes.
        name: that it has there.
        home: where versions are.
        whole: whether all versions of the source are brought.
    """

    client: WandbClient
    context: Context
    memos: RunMemos
    ids: VersionIds
    namespace: Namespace
    name: str
    home: FindHome
    whole: bool

    @property
    def subject(self) -> str:
        return f"portfolio {self.namespace}/{self.name}"

    async def write(self, portfolio: Portfolio) -> Receipt:
        """See ``engine.protocols.LinkDestination``."""
        found = await self._found()
        began = await self.memos.find(Kind.LINK, f"{self.name}/")
        ours, made, waiting = await self._make_links(portfolio, found, began)
        # With a link that is made, a portfolio is there by itself.
        is_new = found is None and not made and waiting is None
        if is_new and (self.whole or not portfolio.links):
            await self._create(portfolio.collection)
        if made or is_new:
            found = await self._found()
        if found is not None:
            await self._label(portfolio, found, ours, began)
        elif waiting is None:
            self.context.lose("portfolio_dropped", self.subject, "none of its links is among what is moved")
        if waiting is not None:
            raise NotYet(
                f"it links to {waiting}, which has not arrived; later links wait for that, as numbers are "
                "given in order",
                side=Side.DESTINATION,
                subject=self.subject,
                remedy="run the same command again when that has arrived",
            )
        return Receipt(items=made, skipped=not made)

    async def _make_links(
        self, portfolio: Portfolio, found: HeldPortfolio | None, began: Mapping[str, Json]
    ) -> tuple[dict[VersionRef, Link], int, VersionRef | None]:
        """Those that there can be; how many were made, and the version that the others wait for."""
        ours: dict[VersionRef, Link] = {}
        made = 0
        for link in portfolio.links:
            if (target := self._target(link)) is None:
                continue
            if not self._is_done(link, target, found, began):
                if (version_id := await self.ids.find(target)) is None:
                    if await self._may_come(target):
                        return ours, made, target
                    self._drop(link, f"{target} is not at the destination")
                    continue
                await self._make(link, target, version_id, found)
                made += 1
            ours[target] = link
        return ours, made, None

    async def _found(self) -> HeldPortfolio | None:
        """What is there now.

        Raises:
            Conflict: something else has the name.
            NotFound: the registry is not there.
        """
        try:
            found = await read_portfolio(self.client, self.namespace, self.name)
        except NotFound as error:
            error.message = f"the registry {self.namespace} is not there, or not open to you"
            error.remedy = "create it, or ask for access to it, then run the same command again"
            raise
        if found is not None and found.kind == SEQUENCE:
            raise Conflict(
                "its name belongs to a collection that has versions of its own",
                side=Side.DESTINATION,
                subject=self.subject,
                remedy="rename one of them, or give the portfolio another name with --map",
            )
        return found

    def _target(self, link: Link) -> VersionRef | None:
        """The version at the destination."""
        home = self.home(link.target.namespace)
        if home is None:
            self._drop(link, "its project is not moved")
            return None
        return VersionRef(home, artifact_name(link.target.name), link.target.number)

    def _drop(self, link: Link, why: str) -> None:
        self.context.lose("link_dropped", f"{self.subject}:v{link.number}", f"link to {link.target}: {why}")

    async def _may_come(self, target: VersionRef) -> bool:
        """Whether a version that is not there can still get its number."""
        if not self.whole:
            return False
        there = await read_collection(self.client, target.namespace, target.name)
        return there is None or max(there.versions, default=-1) < target.number

    async def _create(self, collection: Collection) -> None:
        """Make a portfolio without a link.

        Raises:
            Conflict: the registry takes no artifacts of its type.
        """
        where = {"entity": self.namespace.entity, "project": self.namespace.project}
        type_id = await self._type_id(artifact_type(collection.type), where)
        # An answer that was lost does not undo what was done.
        with suppress(Conflict):
            await self.client.graphql(
                documents.CREATE_PORTFOLIO,
                {
                    **where,
                    "name": self.name,
                    "typeID": type_id,
                    "description": clean_text(collection.description or "") or None,
                },
                self.subject,
            )

    async def _type_id(self, name: str, where: Mapping[str, Json]) -> str:
        async def known() -> str | None:
            data = await self.client.graphql(documents.ARTIFACT_TYPE, {**where, "type": name}, self.subject)
            found = (data.get("project") or {}).get("artifactType")
            return None if found is None else str(found["id"])

        if (type_id := await known()) is not None:
            return type_id
        registry = await Registries(self.client).of(self.namespace)
        if registry is not None and registry.types is not None:
            raise Conflict(
                f"the registry takes no artifacts of type {name!r}, but of {', '.join(registry.types)}",
                side=Side.DESTINATION,
                subject=self.subject,
                remedy=f"let its administrator add the type {name!r}, then run the same command again",
            )
        with suppress(Conflict):
            variables = {**where, "type": name}
            data = await self.client.graphql(documents.CREATE_ARTIFACT_TYPE, variables, self.subject)
            return str(data["createArtifactType"]["artifactType"]["id"])
        found = await known()
        assert found is not None, "it is there, as the server says"
        return found

    # -- links -----------------------------------------------------------------------------------

    def _memo(self, target: VersionRef) -> str:
        return f"{self.name}/{target}"

    def _is_done(
        self, link: Link, target: VersionRef, found: HeldPortfolio | None, began: Mapping[str, Json]
    ) -> bool:
        """Whether nothing is left to do for a link, even if it could not have its number."""
        there = None if found is None else _by_target(found).get(target)
        if there is None:
            return False
        return there.number >= link.number or began.get(self._memo(target)) != MAKING

    async def _make(
        self, link: Link, target: VersionRef, version_id: str, found: HeldPortfolio | None
    ) -> None:
        there = None if found is None else _by_target(found).get(target)
        if found is not None and there is not None:
            # By an earlier attempt; its number is too low.
            number, portfolio_id = there.number, found.id
        else:
            # On disk before the server is asked: what the memo says must be true of whatever is found there.
            await self.memos.put(Kind.LINK, self._memo(target), MAKING, settled=True)
            number, portfolio_id = await self._link(target, version_id)
        while number < link.number:
            # An answer that was lost does not undo what was done.
            with suppress(NotFound):
                await self._send(
                    documents.UNLINK_ARTIFACT, {"artifactID": version_id, "artifactPortfolioID": portfolio_id}
                )
            again, _ = await self._link(target, version_id)
            if again <= number:
                break  # this server does give numbers again
            number = again
        if number != link.number:
            self.context.lose(
                "link_renumbered", f"{self.subject}:v{link.number}", f"link to {target} became v{number}"
            )
        await self.memos.put(Kind.LINK, self._memo(target), MADE)

    async def _link(self, target: VersionRef, version_id: str) -> tuple[int, str]:
        """Make a link; its number, and the id of the portfolio."""

        async def made() -> Json | None:
            found = await self._found()
            there = None if found is None else _by_target(found).get(target)
            if found is None or there is None:
                return None
            return {"linkArtifact": {"versionIndex": there.number, "artifactCollectionID": found.id}}

        given: dict[str, Json] = {
            "artifactID": version_id,
            "artifactPortfolioName": self.name,
            "entityName": self.namespace.entity,
            "projectName": self.namespace.project,
            "aliases": [],
        }
        data = await self.client.create(documents.LINK_ARTIFACT, {"input": given}, self.subject, made)
        linked = data["linkArtifact"]
        return linked["versionIndex"], linked["artifactCollectionID"]

    async def _send(self, document: str, given: Mapping[str, Json]) -> Json:
        return await self.client.graphql(document, {"input": given}, self.subject)

    # -- what is said of them --------------------------------------------------------------------

    async def _label(
        self,
        portfolio: Portfolio,
        found: HeldPortfolio,
        ours: Mapping[VersionRef, Link],
        began: Mapping[str, Json],
    ) -> None:
        there = _by_target(found)
        # Those that the source has no more were ours, too, and must not keep an alias that moved on.
        brought = {target for target in there if target in ours or self._memo(target) in began}
        labels = Labels(self.client, self.namespace, self.name, self.subject)
        theirs = {
            alias: target
            for target, link in there.items()
            for alias in link.aliases
            if target not in brought and alias != LATEST
        }
        owners: dict[str, Hashable] = {}
        for target, link in ours.items():
            for alias in link.aliases:
                if alias in theirs:
                    self._keep(alias, theirs[alias], target)
                elif not is_alias(alias):
                    self.context.lose("alias_dropped", self.subject, f"{alias!r}, which W&B does not take")
                else:
                    owners[alias] = target
        members: dict[Hashable, Member] = {
            target: Member(found.ids[target], there[target].aliases) for target in brought
        }
        await labels.move_aliases(owners, members)
        shared = len(brought) < len(there)
        await labels.describe(portfolio.collection, found.portfolio.collection, found.kind, shared=shared)

    def _keep(self, alias: str, holder: VersionRef, wanted: VersionRef) -> None:
        self.context.lose(
            "alias_dropped",
            self.subject,
            f"{alias!r} of {wanted}: at the destination, {holder} has it, which others linked there",
        )


def _by_target(found: HeldPortfolio) -> dict[VersionRef, Link]:
    return {link.target: link for link in found.portfolio.links}
