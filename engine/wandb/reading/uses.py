"""The names under which runs used versions, which a server tells only run by run.

Current releases of the SDK give a name to each use by ``wandb.Api().run(…).use_artifact(…)``, if only that of
the artifact; older ones also took it in ``Run.use_artifact(…, use_as=…)``.

Source: ``record_artifact_use`` in ``wandb/sdk/artifacts/_gqlutils.py`` of the SDK, and ``InputArtifactEdge``
in the schema of the server.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import orjson

from engine.errors import Unsupported
from engine.fanout import for_each
from engine.records import Json, Namespace, RunRef, Use
from engine.wandb.client import WandbClient
from engine.wandb.reading import documents
from engine.wandb.reading.artifacts import id_of
from engine.wandb.reading.collections import Holding
from engine.wandb.reading.pages import pages

RUNS_AT_ONCE: Final = 50
"""Runs in one question, each with its first inputs."""

INPUTS_PER_PAGE: Final = 100

_SIDE_BY_SIDE: Final = 8


async def with_uses(client: WandbClient, holding: Holding) -> Holding | None:
    """A collection with the names of uses, in a request for each 50 runs that used one of its versions.

    Returns:
        None if this server does not tell them.
    """
    users = {run for version in holding.versions.values() for run in version.used_by}
    wanted: dict[str, int] = {id_of(one.artifact): number for number, one in holding.versions.items()}
    names: dict[int, set[Use]] = defaultdict(set)

    async def ask(runs: tuple[Namespace, Sequence[str]]) -> None:
        async with aclosing(_inputs(client, *runs)) as inputs:
            async for run, edge in inputs:
                node = edge.get("node")
                if node is not None and node["id"] in wanted:
                    names[wanted[node["id"]]] |= {Use(run, name) for name in edge["usedAs"] if name}

    try:
        await for_each(_batches(users), ask, limit=_SIDE_BY_SIDE)
    except Unsupported:
        return None
    return replace(
        holding,
        versions={
            number: replace(version, used_as=tuple(sorted(names[number]))) if number in names else version
            for number, version in holding.versions.items()
        },
    )


def _batches(runs: set[RunRef]) -> Iterator[tuple[Namespace, Sequence[str]]]:
    of_project: dict[Namespace, list[str]] = defaultdict(list)
    for run in sorted(runs):
        of_project[run.namespace].append(run.id)
    for namespace, ids in of_project.items():
        for start in range(0, len(ids), RUNS_AT_ONCE):
            yield namespace, ids[start : start + RUNS_AT_ONCE]


async def _inputs(
    client: WandbClient, namespace: Namespace, ids: Sequence[str]
) -> AsyncGenerator[tuple[RunRef, Mapping[str, Json]]]:
    """All that these runs used; runs that are not there any more used nothing."""
    subject = f"inputs of runs of {namespace}"
    where = {"entity": namespace.entity, "project": namespace.project}
    named = orjson.dumps({"name": {"$in": ids}}).decode()
    variables = {**where, "perPage": RUNS_AT_ONCE, "inputs": INPUTS_PER_PAGE, "filters": named}
    found = pages(client, documents.INPUTS_OF_RUNS, variables, _runs, subject)
    async with aclosing(found) as listed:
        async for page in listed:
            for node in page:
                run, inputs = RunRef(namespace, node["name"]), node["inputArtifacts"]
                for edge in inputs["edges"]:
                    yield run, edge
                if inputs["pageInfo"]["hasNextPage"]:
                    more = _more_inputs(client, run, inputs["pageInfo"]["endCursor"])
                    async with aclosing(more) as edges:
                        async for edge in edges:
                            yield run, edge


def _runs(data: Json) -> Mapping[str, Json]:
    found: Mapping[str, Json] | None = (data.get("project") or {}).get("runs")
    return _NOTHING if found is None else found


_NOTHING: Final[Mapping[str, Json]] = {"edges": (), "pageInfo": {"hasNextPage": False}}


async def _more_inputs(client: WandbClient, run: RunRef, cursor: str) -> AsyncGenerator[Mapping[str, Json]]:
    answers: list[Mapping[str, Json]] = []

    def inputs(data: Json) -> Mapping[str, Json]:
        told = (data.get("project") or {}).get("run")
        answers.append(_NOTHING if told is None else told["inputArtifacts"])
        return answers[-1]

    variables = {
        "entity": run.namespace.entity,
        "project": run.namespace.project,
        "run": run.id,
        "inputs": INPUTS_PER_PAGE,
    }
    subject = f"inputs of run {run.id} of {run.namespace}"
    found = pages(client, documents.INPUTS_OF_RUN, variables, inputs, subject, cursor=cursor)
    async with aclosing(found) as listed:
        async for _ in listed:
            for edge in answers[-1]["edges"]:
                yield edge
