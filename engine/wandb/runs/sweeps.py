"""Sweeps at the destination: their configs, and the names by which runs belong to them.

The server gives every sweep a name of its own. Which sweep of the source it was stands in its description,
so that a later transfer finds it again, with or without a ledger. It is finished from the beginning: an agent
that is pointed at it by accident gets nothing to do.

Source: ``wandb/apis/public/sweeps.py`` of the SDK for the mutation and the states.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import aclosing
from typing import Final

from engine.records import Json, Namespace, Receipt
from engine.reports import Sweep
from engine.transfer.context import Context
from engine.wandb.client import WandbClient
from engine.wandb.jsontext import clean_text
from engine.wandb.mapping import iso_time
from engine.wandb.reading.reports import list_sweeps

UPSERT_SWEEP: Final = """
mutation UpsertSweep(
  $id: ID, $entity: String, $project: String, $config: String, $description: String, $displayName: String,
  $state: String
) {
  upsertSweep(input: {
    id: $id, entityName: $entity, projectName: $project, config: $config, description: $description,
    displayName: $displayName, state: $state
  }) { sweep { id name state } }
}
"""

FINISHED: Final = "FINISHED"
STATES_OF_ENDED: Final = (FINISHED, "CANCELED")
_ORIGIN: Final = re.compile(r"^Imported from (?P<origin>sweep \S+ of .+)$", re.MULTILINE)


def origin_in(description: str | None) -> str | None:
    """Which sweep of the source a description tells of."""
    match = _ORIGIN.search(description or "")
    return None if match is None else match["origin"]


def described_by(description: str | None) -> str | None:
    """What the source said of a sweep, in a description that also tells where it came from."""
    return _ORIGIN.split(description or "", maxsplit=1)[0].strip() or None


def origin_of(namespace: Namespace, name: str) -> str:
    """How a description names a sweep of the source."""
    return f"sweep {name} of {namespace}".replace("\n", " ")


def state_of(sweep: Sweep) -> str | None:
    """Which state a sweep of the source has at the destination."""
    return sweep.state if sweep.state in STATES_OF_ENDED else FINISHED


def declare(sweep: Sweep, context: Context) -> None:
    """Record that a sweep went on at the source."""
    if sweep.state not in STATES_OF_ENDED:
        detail = f"it was {sweep.state}, and is {FINISHED} so that nobody goes on with it by accident"
        context.lose("sweep_finished", str(sweep), detail)


class Sweeps:
    """The sweeps of one transfer.

    Attributes:
        names: at the destination, by namespace and id at the source.
    """

    def __init__(self, client: WandbClient, context: Context) -> None:
        self._client = client
        self._context = context
        self._held: dict[Namespace, dict[str, Mapping[str, Json]]] = {}
        self.names: dict[tuple[Namespace, str], str] = {}

    async def write(self, sweep: Sweep, namespace: Namespace) -> Receipt:
        """Make a sweep, unless it is there as it should be."""
        held = (await self.held(namespace)).get(origin_of(sweep.namespace, sweep.id))
        wanted = self._wanted(sweep)
        if held is None or any((held[name] or None) != value for name, value in wanted.items()):
            where: dict[str, Json] = {"entity": namespace.entity, "project": namespace.project}
            if held is None:
                made = await self._make(sweep, namespace, where | wanted)
            else:
                made = await self._upsert(sweep, where | wanted | {"id": held["id"]})
            if made["state"] != wanted["state"]:
                # As the SDK changes it: of a sweep that is there.
                await self._upsert(sweep, {"id": made["id"], "state": wanted["state"]})
            declare(sweep, self._context)
            name, skipped = str(made["name"]), False
        else:
            name, skipped = str(held["name"]), True
        self.names[sweep.namespace, sweep.id] = name
        return Receipt(items=1, skipped=skipped, note=name)

    def adopt(self, sweep: Sweep, name: str) -> None:
        """Hear under which name a sweep is there."""
        self.names[sweep.namespace, sweep.id] = name

    async def held(self, namespace: Namespace) -> dict[str, Mapping[str, Json]]:
        """Sweeps of a project that earlier transfers brought, by their origins."""
        if namespace not in self._held:
            found: dict[str, Mapping[str, Json]] = {}
            async with aclosing(list_sweeps(self._client, namespace)) as nodes:
                async for node in nodes:
                    if (origin := origin_in(node.get("description"))) is not None:
                        found.setdefault(origin, node)
            self._held[namespace] = found
        return self._held[namespace]

    def _wanted(self, sweep: Sweep) -> dict[str, Json]:
        made = " ".join(
            part
            for part in (
                f"by {sweep.user}" if sweep.user else "",
                f"at {iso_time(sweep.created_at)}" if sweep.created_at else "",
            )
            if part
        )
        origin = f"Imported from {origin_of(sweep.namespace, sweep.id)}"
        return {
            "config": clean_text(sweep.config),
            "displayName": clean_text(sweep.name) if sweep.name else None,
            "description": clean_text(
                "\n\n".join(filter(None, (sweep.description, origin, f"Made {made}" if made else "")))
            ),
            "state": state_of(sweep),
        }

    async def _make(
        self, sweep: Sweep, namespace: Namespace, variables: Mapping[str, Json]
    ) -> Mapping[str, Json]:
        async def find() -> Json | None:
            self._held.pop(namespace, None)
            found = (await self.held(namespace)).get(origin_of(sweep.namespace, sweep.id))
            return None if found is None else {"upsertSweep": {"sweep": found}}

        answer = await self._client.create(UPSERT_SWEEP, variables, str(sweep), find)
        made: Mapping[str, Json] = answer["upsertSweep"]["sweep"]
        return made

    async def _upsert(self, sweep: Sweep, variables: Mapping[str, Json]) -> Mapping[str, Json]:
        answer = await self._client.graphql(UPSERT_SWEEP, variables, str(sweep))
        made: Mapping[str, Json] = answer["upsertSweep"]["sweep"]
        return made
