"""What people do with artifacts, request by request; their run is ``r``, at the destination ``own``."""

from __future__ import annotations

from typing import Any

from tests.e2e.wandb_pair import A, B, Pair
from tests.sandbox.artifact_writer import ArtifactWriter
from tests.servers import RunningSandbox

RUN = "mutation ($p: String, $r: String) { upsertBucket(input: {name: $r, modelName: $p}) { inserted } }"
_DELETE = "mutation ($i: DeleteArtifactInput!) { deleteArtifact(input: $i) { artifact { id } } }"


def at_source(pair: Pair, project: str) -> ArtifactWriter:
    pair.source.graphql(RUN, p=project, r="r")
    return ArtifactWriter(pair.source, project, entity=A)


def at_destination(pair: Pair, project: str) -> ArtifactWriter:
    pair.target.graphql(RUN, p=project, r="own")
    return ArtifactWriter(pair.target, project, entity=B)


def log(artifacts: ArtifactWriter, name: str, *texts: str, run: str = "r", **said: Any) -> None:
    """Log a version for each text."""
    for text in texts:
        artifacts.log(name, {"file.txt": text.encode()}, runName=run, **said)


def delete(server: RunningSandbox, artifacts: ArtifactWriter, version: str) -> None:
    found = artifacts.membership(version)["artifact"]["id"]
    server.graphql(_DELETE, i={"artifactID": found, "deleteAliases": True})


def versions(pair: Pair, project: str) -> list[tuple[Any, ...]]:
    """Collection, number and aliases of all versions at the destination."""
    return [(row[0], row[1], row[-1]) for row in pair.holds(project)["versions"]]
