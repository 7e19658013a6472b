"""Under which id a run arrives, so that nothing that is there already is ever written over.

A run of the same id at the destination is adopted if its provenance says that it came from the same run of
the source; otherwise it is somebody else's, and so is an id that was deleted, which the server never takes
again. What then happens is the user's choice. New ids depend on nothing but the run and what is there, so
that a second transfer finds the same ones, by the ledger or without it.

In a project that this transfer made nothing has to be asked; in others, runs that are opened at the same time
are asked for together.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from enum import StrEnum
from typing import TypeAlias, TypeVar

import orjson

from engine.errors import ConfigError, Conflict, Side
from engine.fanout import KeyedLocks
from engine.records import Json, Namespace, Run
from engine.transfer.context import Context
from engine.transfer.ledger.lookups import Lookups
from engine.wandb import documents
from engine.wandb.client import WandbClient
from engine.wandb.mapping import PROVENANCE, RunMapping
from engine.wandb.names import run_id, short_hash, suffixed

TRIES = 50
"""Ids that are tried for one run."""

PAGE = 100
"""Runs in one question at most."""

Place: TypeAlias = tuple[Namespace, str]
"""A project at the destination, and an id in it."""

T = TypeVar("T")

_UNIQUE = re.compile(r"[0-9a-f]{32}")
"""Ids that no two servers ever made, like those of MLflow."""


class IdPolicy(StrEnum):
    """What becomes of the ids of runs."""

    KEEP = "keep"
    """A run whose id is taken fails."""
    SUFFIX = "suffix"
    """A run whose id is taken gets it with ``-2``, ``-3`` … at its end."""
    NEW = "new"
    """Every run gets an id that is made from its origin."""

    @classmethod
    def of(cls, word: str) -> IdPolicy:
        try:
            return cls(word)
        except ValueError:
            raise ConfigError(f"{word!r} is no way to choose ids", remedy=f"say {', '.join(cls)}") from None


class RunIds:
    """The ids of the runs of one transfer.

    Args:
        source_uri: of the source, without secrets.
    """

    def __init__(self, policy: IdPolicy, source_uri: str) -> None:
        self.policy = policy
        self._source_uri = source_uri
        self._given: dict[tuple[str, str, str], str] = {}

    async def load(self, context: Context) -> None:
        """Learn which runs got an id that cannot be told from the policy alone."""
        for given in await context.ids.where(lambda given: given.id != self._first(given.project, given.run)):
            self._given[given.project, given.run, given.place] = given.id

    def of(self, run: Run, place: Namespace) -> str:
        """The id that a run has, or would be given first."""
        project = run.namespace.path
        return self._given.get((project, run.id, place.path)) or self._first(project, run.id)

    def candidates(self, run: Run, place: Namespace) -> Iterator[str]:
        """Ids to try in turn."""
        project = run.namespace.path
        known = self._given.get((project, run.id, place.path))
        if known is not None:
            yield known
        for number in range(TRIES if self.policy is not IdPolicy.KEEP else 0 if known else 1):
            if (candidate := self._candidate(project, run.id, number)) != known:
                yield candidate

    def remember(self, run: Run, place: Namespace, new_id: str) -> None:
        self._given[run.namespace.path, run.id, place.path] = new_id

    def _first(self, project: str, source_id: str) -> str:
        return self._candidate(project, source_id, 0)

    def _candidate(self, project: str, source_id: str, number: int) -> str:
        if self.policy is IdPolicy.NEW:
            return short_hash("\0".join((self._source_uri, project, source_id, str(number))), 16)
        legal = run_id(source_id)
        return suffixed(legal, number + 1) if number else legal


class Openings:
    """Finds an id for each run that is opened, and has the run written under it.

    Args:
        ids: what is known of them.
    """

    def __init__(self, client: WandbClient, context: Context, ids: RunIds) -> None:
        self._client = client
        self._context = context
        self._ids = ids
        self._empty: set[Namespace] = set()
        self._single: set[Namespace] = set()
        self._locks = KeyedLocks()
        self._there = Lookups(self._look)

    def made(self, project: Namespace, *, single: bool) -> None:
        """Hear that this transfer made a project.

        Args:
            single: whether it holds the runs of one source project only.
        """
        self._empty.add(project)
        if single:
            self._single.add(project)

    async def holds(self, place: Namespace, name: str) -> bool:
        """Whether a run is there."""
        return await self._there.get((place, name)) is not None

    def id_of(self, run: Run, place: Namespace) -> str:
        """The id that a run has there, or would be given first."""
        return self._ids.of(run, place)

    async def settle(self, mapping: RunMapping, place: Namespace, write: Callable[[], Awaitable[T]]) -> T:
        """Give a run its id, and return what ``write`` says under it.

        Raises:
            Conflict: the id is taken, and the user wants no other.
        """
        reason = ""
        for candidate in self._ids.candidates(mapping.run, place):
            mapping.given_id = candidate
            # Two runs of one id that meet here must not both find that nobody is there.
            async with self._locks.hold(f"{place}\0{candidate}"):
                taken = await self._taken(mapping, place, candidate)
                if taken is None:
                    try:
                        done = await write()
                    except Conflict as error:
                        taken = error
                    else:
                        await self._told(mapping, place, candidate, reason)
                        return done
            if self._ids.policy is IdPolicy.KEEP:
                raise taken
            reason = taken.message
        raise Conflict(
            f"{TRIES} ids in a row are taken",
            side=Side.DESTINATION,
            subject=mapping.subject,
            remedy="transfer to another project",
        )

    async def _taken(self, mapping: RunMapping, place: Namespace, candidate: str) -> Conflict | None:
        """Why an id cannot be had."""
        if place in self._empty and (place in self._single or _UNIQUE.fullmatch(mapping.run.id)):
            return None
        found = await self._there.get((place, candidate))
        if found is None or _is_same(found, mapping.provenance):
            return None
        whose = found.get("project")
        return Conflict(
            f"{place} holds another run of the id {candidate!r}"
            + (f", which came from {whose!r}" if whose else ""),
            side=Side.DESTINATION,
            subject=mapping.subject,
            remedy="it is left alone; to bring this one under another id, add --ids suffix",
        )

    async def _told(self, mapping: RunMapping, place: Namespace, new_id: str, reason: str) -> None:
        known = self._ids.of(mapping.run, place)
        if new_id != known:
            self._ids.remember(mapping.run, place, new_id)
        elif not reason and self._ids.policy is not IdPolicy.NEW:
            return
        await self._context.ids.add(mapping.run, place, new_id, reason or "every run gets a new id")

    async def _look(self, keys: Collection[Place]) -> Mapping[Place, Mapping[str, Json]]:
        """The provenance of those runs that are there; empty for one that has none."""
        wanted: dict[Namespace, list[str]] = defaultdict(list)
        for place, name in keys:
            wanted[place].append(name)
        found: dict[Place, Mapping[str, Json]] = {}
        for place, names in wanted.items():
            for start in range(0, len(names), PAGE):
                page = names[start : start + PAGE]
                variables = {
                    "entity": place.entity,
                    "project": place.project,
                    "first": len(page),
                    "filters": orjson.dumps({"name": {"$in": page}}).decode(),
                }
                data = await self._client.graphql(documents.RUN_ORIGINS, variables, f"runs of {place}")
                for edge in data["project"]["runs"]["edges"] if data.get("project") else ():
                    found[place, edge["node"]["name"]] = _provenance(edge["node"]["config"])
        return found


def _provenance(config: str | None) -> Mapping[str, Json]:
    told = orjson.loads(config or "{}").get(PROVENANCE)
    value = told.get("value") if isinstance(told, dict) else None
    return value if isinstance(value, dict) else {}


def _is_same(found: Mapping[str, Json], own: Mapping[str, Json]) -> bool:
    """Whether two provenances are of the same run; experiments may have been renamed, servers moved."""
    if not found or found.get("run_id") != own["run_id"]:
        return False
    places = [(told.get("entity"), told.get("project")) for told in (found, own)]
    return places[0] == places[1] or _UNIQUE.fullmatch(str(own["run_id"])) is not None
